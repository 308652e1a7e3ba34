from __future__ import annotations

from pathlib import Path

import pytest

from tests.t2i.small_bundle import save_small


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("bundles") / "small")
