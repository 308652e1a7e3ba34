from __future__ import annotations

import socket

import pytest

from t2i.batch import BatchError
from t2i.batch.cluster import join
from t2i.errors import InvalidInput

pytest.importorskip("ray")


@pytest.mark.parametrize("address", ["birds", "ray://", "host:", "host:0", "host:x", ":6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="give auto, ray://HOST:PORT or HOST:PORT"):
        join(address)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_ray_that_is_not_there_is_told_at_once(form: str) -> None:
    with socket.socket() as bound:
        # Nobody listens at it, and nobody else gets it.
        bound.bind(("127.0.0.1", 0))
        address = form.format(bound.getsockname()[1])
        with pytest.raises(BatchError, match=f"^Ray at {address}: cannot be reached"):
            join(address)


def test_the_environment_names_the_ray_where_no_address_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "birds")
    with pytest.raises(InvalidInput, match="'birds' is no address of a Ray"):
        join()
