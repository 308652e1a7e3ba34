"""A sheet of captions and seeds, for people to look at."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
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
_BETWEEN = 12
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
    return write_groups(path, titles, real, {"": draw}, seeds=seeds)


def write_groups(
    path: Path,
    titles: Sequence[str],
    real: NDArray[np.uint8],
    draws: Mapping[str, Callable[[int], NDArray[np.uint8]]],
    *,
    seeds: Sequence[int],
) -> Path:
    """Write a row a title: a real picture, then a group of columns a model; return `path`.

    Args:
        path: ends in .png, .webp, .jpg or .jpeg.
        titles: what was asked for.
        real: (n, r, r, 1 or 3) uint8, one for each title.
        draws: name of a model -> a function that returns its picture for each title,
            (n, r, r, 3) uint8, of a seed. The name stands above its columns.
        seeds: columns of each group, the same seed down the column.

    Raises:
        MetricsError: see `check_grid_path`.
    """
    check_grid_path(path)
    step = CELL + _GAP
    top = _HEADER * (2 if any(draws) else 1)
    width = _TEXT_WIDTH + step + len(draws) * (len(seeds) * step + _BETWEEN) - _BETWEEN
    sheet = Image.new("RGB", (width, top + len(titles) * step), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)

    def column(left: int, heading: str, pictures: NDArray[np.uint8]) -> None:
        pen.text((left, top - _HEADER + 4), heading, fill="black", font=font)
        for row, array in enumerate(pictures):
            picture = Image.fromarray(np.ascontiguousarray(array))
            cell = picture.resize((CELL, CELL), Image.Resampling.BICUBIC)
            sheet.paste(cell, (left, top + row * step))

    for row, title in enumerate(titles):
        words = "\n".join(textwrap.wrap(title, 36))
        pen.multiline_text((4, top + row * step + 4), words, fill="black", font=font)
    column(_TEXT_WIDTH, "real", np.broadcast_to(real, (*real.shape[:3], 3)))
    left = _TEXT_WIDTH + step
    for name, draw in draws.items():
        pen.text((left, 4), name if top > _HEADER else "", fill="black", font=font)
        for seed in seeds:
            column(left, f"seed {seed}", draw(seed))
            left += step
        left += _BETWEEN
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
