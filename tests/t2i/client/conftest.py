from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.t2i.client.faulty_service import Service, serving


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with serving(service) as address:
        service.address = address
        yield service
