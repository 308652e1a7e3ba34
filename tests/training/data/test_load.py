"""What a person types after `--data` finds the birds or the folder that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i.errors import InvalidInput
from tests.training.data.folders import captioned
from training.data import load_data
from training.data.birds import BirdData
from training.data.errors import DataError


def test_birds_come_by_name_and_number(tmp_path: Path) -> None:
    data = load_data("birds:4", resolution=64, cache_dir=tmp_path, progress=False)
    assert isinstance(data, BirdData) and len(data) == 4
    fewer = load_data("birds:4", resolution=64, count=2, cache_dir=tmp_path, progress=False)
    assert len(fewer) == 2


def test_t2i_cache_is_where_birds_and_folders_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))
    load_data("birds:2", resolution=64, progress=False)
    load_data(captioned(tmp_path / "mine", 20), resolution=16, progress=False)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"birds", "pictures"}


def test_a_folder_called_birds_is_meant_by_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioned(tmp_path / "birds", 20)
    monkeypatch.chdir(tmp_path)
    for source in ("./birds", Path("birds")):
        data = load_data(
            source, resolution=16, split="all", cache_dir=tmp_path / "cache", progress=False
        )
        assert len(data) == 20 and len(data.files) == 20


@pytest.mark.parametrize("source", ["birds:", "birds:many", "birds:0", "birds:-3"])
def test_a_number_of_birds_that_is_none_is_named(source: str) -> None:
    with pytest.raises(InvalidInput, match="data: names no number of birds; write birds:12000"):
        load_data(source, resolution=64)


def test_an_unknown_split_of_the_birds_is_named() -> None:
    with pytest.raises(InvalidInput, match="split: is no split of the birds; give one of train"):
        load_data("birds:2", resolution=64, split="test")


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(DataError, match="no/such/folder: does not exist"):
        load_data("no/such/folder", resolution=64)
