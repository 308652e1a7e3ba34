"""What must hold of every claim; new ones join through the registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from training.claims.claim import Trial, claims
from training.registry import recipes

CLAIMS = claims()


@pytest.mark.parametrize("key", list(CLAIMS))
def test_it_goes_through_on_small_data(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2I_DATA", str(tmp_path / "nothing-here"))
    measured = CLAIMS[key].measure(Trial(seed=0, out=tmp_path, quick=True))
    measured.check(key, finite=False)
    assert isinstance(measured.holds, bool)
    assert all(isinstance(value, float) for value in measured.figures.values())
    for path in measured.pictures.values():
        assert path.is_relative_to(tmp_path)
        with Image.open(path) as picture:
            assert min(picture.size) >= 32


@pytest.mark.parametrize("key", list(CLAIMS))
def test_it_belongs_to_a_paper_and_says_what_it_shows(key: str) -> None:
    found = CLAIMS[key]
    assert key in recipes()
    assert found.source.stem == key.replace("-", "_")
    assert found.shows and not found.shows.endswith(".")
    assert found.paper and found.text
