"""A contact sheet shows every picture with its caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from t2i.errors import InvalidInput
from training.data.birds import bird_at, render
from training.data.cli import data
from training.data.sheet import contact_sheet

COLOURS = [(200, 30, 30), (30, 160, 40), (40, 60, 210)]


def plain() -> np.ndarray:
    return np.stack([np.full((16, 16, 3), colour, np.uint8) for colour in COLOURS])


def test_every_picture_is_shown_and_captions_are_inked(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    assert contact_sheet(plain(), ["a", "b", "c"], path, columns=2, picture_size=64) == path
    sheet = np.asarray(Image.open(path))
    for colour in COLOURS:
        assert (sheet == colour).all(axis=2).sum() == 64 * 64
    below = sheet[10 + 64 : 10 + 64 + 20, 10:74]
    assert below.min() < 120
    assert [entry.name for entry in path.parent.iterdir()] == ["sheet.png"]


def test_a_long_caption_stays_in_its_column(tmp_path: Path) -> None:
    words = "this bird has an uncommonly long caption " * 8
    path = contact_sheet(plain(), [words, "", ""], tmp_path / "s.png", columns=2, picture_size=96)
    sheet = np.asarray(Image.open(path)).astype(int)
    # Right of the first column, below the second picture, nothing is written.
    gap = sheet[10 + 96 + 2 : 10 + 96 + 60, 10 + 96 + 1 : 10 + 96 + 9]
    assert gap.min() > 230


def test_a_suffix_that_names_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="png"):
        contact_sheet(plain(), ["a", "b", "c"], tmp_path / "sheet.txt")
    assert list(tmp_path.iterdir()) == []


def test_the_command_lays_birds_on_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "birds.png"
    asked = ["sheet", "birds", "--out", str(path), "--count", "3", "--columns", "2"]
    result = CliRunner().invoke(data, [*asked, "--resolution", "64"])
    assert result.exit_code == 0, result.output
    bird, _ = bird_at("train", 0, 0)
    assert (np.asarray(Image.open(path))[10:74, 10:74] == render(bird, 64)).all()


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    result = CliRunner().invoke(data, ["sheet", str(tmp_path / "gone"), "--out", "sheet.png"])
    assert result.exit_code == 2
    assert "gone" in result.output


@pytest.mark.parametrize(
    ("field", "pictures", "captions", "columns"),
    [
        ("pictures", np.zeros((0, 8, 8, 3), np.uint8), [], 2),
        ("captions", plain(), ["one"], 2),
        ("columns", plain(), ["a", "b", "c"], 0),
    ],
)
def test_what_cannot_be_laid_out_is_refused(
    field: str, pictures: np.ndarray, captions: list[str], columns: int, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput) as caught:
        contact_sheet(pictures, captions, tmp_path / "sheet.png", columns=columns)
    assert caught.value.field == field
    assert list(tmp_path.iterdir()) == []
