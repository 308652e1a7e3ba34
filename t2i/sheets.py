"""Several pictures on one sheet or in one film, for people to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

__all__ = ["FILM_SUFFIXES", "contact_sheet", "enlarged", "film", "in_rows", "labelled", "looked_at"]

FILM_SUFFIXES = {".gif": "GIF", ".webp": "WEBP"}

_BACKGROUND = (255, 255, 255)
# Height of a line of words in pixels.
_LINE = 12


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


def film(
    pictures: Sequence[Image.Image],
    suffix: str,
    *,
    fps: int = 8,
    and_back: bool = False,
    scale: int = 1,
) -> bytes:
    """Return the file of a film without end; the same pictures give the same bytes.

    Args:
        pictures: one or more, in order.
        suffix: one of `FILM_SUFFIXES`. A GIF has 256 colours a picture, a WebP all of them.
        fps: pictures a second.
        and_back: go back to the beginning picture by picture.
        scale: enlarge so many times.
    """
    frames = [enlarged(each, each.width * scale, each.height * scale) for each in pictures]
    if and_back:
        frames += frames[-2:0:-1]
    format = FILM_SUFFIXES[suffix.lower()]
    packed = io.BytesIO()
    # Without `disposal`, Pillow joins alike pictures of a GIF into one; both need all of them.
    kind = {"lossless": True} if format == "WEBP" else {"disposal": 2, "optimize": False}
    frames[0].save(
        packed,
        format,
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / fps),
        loop=0,
        **kind,
    )
    return packed.getvalue()


def looked_at(picture: Image.Image, map: Image.Image) -> Image.Image:
    """Return a picture that is bright where a map is.

    Args:
        picture: in mode RGB.
        map: in mode L, of any size; it lies over the whole picture.
    """
    mask = map.resize(picture.size, Image.Resampling.BICUBIC)
    dimmed = Image.blend(picture, Image.new("RGB", picture.size), 0.8)
    return Image.composite(picture, dimmed, mask)


def labelled(picture: Image.Image, words: str) -> Image.Image:
    """Return a picture with a line of words below it, which may be empty."""
    page = Image.new("RGB", (picture.width, picture.height + _LINE), _BACKGROUND)
    page.paste(picture, (0, 0))
    ImageDraw.Draw(page).text((1, picture.height), words, fill=(0, 0, 0), font_size=_LINE - 2)
    return page
