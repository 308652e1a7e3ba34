"""Several pictures on one sheet, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

__all__ = ["contact_sheet", "enlarged", "in_rows"]

_BACKGROUND = (255, 255, 255)


def contact_sheet(rows: Sequence[Sequence[Image.Image]], gap: int = 2) -> Image.Image:
    """Return one picture with all pictures in rows; every cell has the size of the largest.

    Args:
        rows: at least one picture; rows may be of different lengths.
        gap: pixels between neighbours.
    """
    pictures = [picture for row in rows for picture in row]
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    columns = max(len(row) for row in rows)
    sheet = Image.new(
        "RGB",
        (columns * (width + gap) - gap, len(rows) * (height + gap) - gap),
        _BACKGROUND,
    )
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(enlarged(picture, width, height), (x * (width + gap), y * (height + gap)))
    return sheet


def enlarged(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture at another size, or the picture itself when it has that size."""
    size = (width, height)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)


def in_rows(
    pictures: Sequence[Image.Image], columns: int | None = None
) -> list[Sequence[Image.Image]]:
    """Return the pictures in rows of so many; None makes the sheet nearly square."""
    columns = columns or max(1, round(len(pictures) ** 0.5 + 0.49))
    return [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
