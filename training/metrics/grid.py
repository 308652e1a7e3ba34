"""A sheet of captions and seeds, for people to look at."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from t2i.files import write_atomically
from training.metrics.errors import MetricsError
from training.metrics.evaluate import Painter
from training.metrics.reference import Reference

CELL = 96
_TEXT_WIDTH = 232
_GAP = 4
_HEADER = 20
_FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}


def write_grid(
    path: Path,
    painter: Painter,
    references: Sequence[Reference],
    *,
    seeds: Sequence[int],
    captions: int = 6,
) -> Path:
    """Draw the first captions of each split with each seed, beside a real picture; return `path`.

    Args:
        path: ends in .png, .webp, .jpg or .jpeg.
        painter: the model.
        references: the splits, one block of rows each.
        seeds: one column each, the same seed down the column.
        captions: rows of each split.

    Raises:
        MetricsError: see `check_grid_path`.
    """
    check_grid_path(path)
    rows = [
        (f"{reference.split}: {text}", reference.pictures[index], text)
        for reference in references
        for index, text in enumerate(reference.captions[:captions])
    ]
    drawn = painter.paint([text for *_, text in rows for _ in seeds], list(seeds) * len(rows))
    drawn = drawn.reshape(len(rows), len(seeds), *drawn.shape[1:])
    size = (
        _TEXT_WIDTH + (len(seeds) + 1) * (CELL + _GAP),
        _HEADER + len(rows) * (CELL + _GAP),
    )
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, title in enumerate(("real", *(f"seed {seed}" for seed in seeds))):
        pen.text((_TEXT_WIDTH + column * (CELL + _GAP), 4), title, fill="black", font=font)
    for row, (title, real, _) in enumerate(rows):
        top = _HEADER + row * (CELL + _GAP)
        words = "\n".join(textwrap.wrap(title, 36))
        pen.multiline_text((4, top + 4), words, fill="black", font=font)
        for column, picture in enumerate((np.asarray(real), *drawn[row])):
            cell = Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.BICUBIC)
            sheet.paste(cell, (_TEXT_WIDTH + column * (CELL + _GAP), top))
    buffer = io.BytesIO()
    sheet.save(buffer, picture_format(path))
    return write_atomically(path, buffer.getvalue())


def check_grid_path(path: Path) -> None:
    """Refuse a path that no sheet can be written to.

    Raises:
        MetricsError: its ending names no picture format, or its folder does not exist.
    """
    if path.suffix.lower() not in _FORMATS:
        raise MetricsError("grid", path.name, "names no picture format", "end it in .png")
    if not path.absolute().parent.is_dir():
        raise MetricsError("grid", str(path), "lies in a folder that does not exist", "make it")


def picture_format(path: Path) -> str:
    """Return Pillow's name of the format that a path's ending names.

    Raises:
        MetricsError: see `check_grid_path`.
    """
    check_grid_path(path)
    return _FORMATS[path.suffix.lower()]
