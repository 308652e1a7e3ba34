"""A contact sheet shows every picture with its caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i.errors import InvalidInput
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
