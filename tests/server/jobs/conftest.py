from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.jobs.folders import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("inputs", "outputs"):
        (tmp_path / name).mkdir()
    return Places(tmp_path / "jobs", tmp_path / "inputs", tmp_path / "outputs")
