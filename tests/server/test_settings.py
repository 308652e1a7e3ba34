from __future__ import annotations

from pathlib import Path

import pytest

from server.settings import Settings
from t2i.errors import InvalidInput

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_neither_tls_nor_token(host: str) -> None:
    assert Settings(host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_any_other_address_is_refused_without_tls_and_token(host: str, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.touch()
    for incomplete in ({}, {"token": TOKEN}, {"tls_cert": pem, "tls_key": pem}):
        with pytest.raises(InvalidInput, match="other machines") as refusal:
            Settings(host=host, **incomplete)  # type: ignore[arg-type]
        assert refusal.value.field == "host"
    Settings(host=host, token=TOKEN, tls_cert=pem, tls_key=pem)


def test_ipv6_addresses_are_written_in_brackets() -> None:
    assert Settings(host="::1", port=1).address == "[::1]:1"
    assert Settings(host="127.0.0.1", port=1).address == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 65536),
        ("workers", 0),
        ("max_batch", 0),
        ("queue_limit", 15),
        ("max_request_bytes", 10),
        ("queue_bytes", 1000),
        ("replay_bytes", -1),
        ("replay_seconds", -1),
        ("drain_seconds", -1),
        ("models", ()),
        ("watch_models", 0.0),
        ("watch_models", float("nan")),
    ],
)
def test_a_value_out_of_range_names_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Settings(**{field: value})  # type: ignore[arg-type]
    assert refusal.value.field == field


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="only a certificate"):
        Settings(tls_cert=tmp_path / "c.pem")


@pytest.mark.parametrize("token", ["tiny-7", "with space in it 123", "ümläute-ümläute-ümläute"])
def test_a_weak_token_is_refused_and_never_shown(token: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Settings(token=token)
    assert token not in str(refusal.value)
