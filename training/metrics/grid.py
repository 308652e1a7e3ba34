"""A sheet of captions and seeds, for people to look at."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from t2i.files import write_atomically
from training.metrics.errors import MetricsError
from training.metrics.evaluate_birds import Painter
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
    texts = [text for each in references for text in each.captions[:captions]]
    return write_rows(
        path,
        [f"{each.split}: {text}" for each in references for text in each.captions[:captions]],
        np.concatenate([each.pictures[:captions] for each in references]),
        lambda seed: painter.paint(texts, [seed] * len(texts)),
        seeds=seeds,
    )


def write_rows(
    path: Path,
    titles: Sequence[str],
    real: NDArray[np.uint8],
    draw: Callable[[int], NDArray[np.uint8]],
    *,
    seeds: Sequence[int],
) -> Path:
    """Write a row a title: a real picture, then what a model drew with each seed; return `path`.

    Args:
        path: ends in .png, .webp, .jpg or .jpeg.
        titles: what was asked for.
        real: (n, r, r, 1 or 3) uint8, one for each title.
        draw: returns a picture for each title, (n, r, r, 3) uint8, of a seed.
        seeds: one column each, the same seed down the column.

    Raises:
        MetricsError: see `check_grid_path`.
    """
    check_grid_path(path)
    columns = [np.broadcast_to(real, (*real.shape[:3], 3)), *(draw(seed) for seed in seeds)]
    size = _TEXT_WIDTH + len(columns) * (CELL + _GAP), _HEADER + len(titles) * (CELL + _GAP)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, heading in enumerate(("real", *(f"seed {seed}" for seed in seeds))):
        pen.text((_TEXT_WIDTH + column * (CELL + _GAP), 4), heading, fill="black", font=font)
    for row, title in enumerate(titles):
        top = _HEADER + row * (CELL + _GAP)
        words = "\n".join(textwrap.wrap(title, 36))
        pen.multiline_text((4, top + 4), words, fill="black", font=font)
        for column, pictures in enumerate(columns):
            picture = Image.fromarray(np.ascontiguousarray(pictures[row]))
            cell = picture.resize((CELL, CELL), Image.Resampling.BICUBIC)
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
