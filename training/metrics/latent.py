"""Walks and sums in the latent space, as sheets for people to look at.

A generator that has learnt its data by heart jumps between pictures along a walk; one that has
learnt what pictures have in common changes one thing after another. All functions take a `Draw`:
noise (n, noise_dim) to pictures (n, c, h, w) in [-1, 1], such as

    def draw(noise: Tensor) -> Tensor:
        return generator(embedding.expand(len(noise), -1), noise).pictures[-1]
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from t2i.files import write_atomically
from t2i.noise import slerp
from training.metrics.errors import MetricsError
from training.metrics.features import as_bytes
from training.metrics.grid import check_grid_path, picture_format

Draw = Callable[[Tensor], Tensor]

_GAP = 4
_TITLE = 18
_INK, _PAPER = (34, 34, 40), (255, 255, 255)


@torch.inference_mode()
def interpolations(
    draw: Draw, starts: Tensor, stops: Tensor, *, steps: int = 9, spherical: bool = True
) -> NDArray[np.uint8]:
    """Return (n, steps, h, w, c) uint8: pictures on the way from each start to its stop.

    Radford et al., 2016, arXiv:1511.06434, section 6.1.

    Args:
        draw: the generator.
        starts: (n, noise_dim).
        stops: (n, noise_dim).
        steps: pictures of a walk, both ends among them.
        spherical: along the great arc, as fits normal noise; else in a straight line, as fits
            uniform noise and codes.

    Raises:
        MetricsError: shapes differ, or a walk has fewer than two pictures.
    """
    if starts.shape != stops.shape or starts.ndim != 2 or not len(starts):
        raise MetricsError(
            "stops", tuple(stops.shape), f"do not fit {tuple(starts.shape)}", "give (n, dim) each"
        )
    if steps < 2:
        raise MetricsError("steps", steps, "is less than both ends", "use 2 or more")
    noise = []
    for start, stop in zip(starts, stops, strict=True):
        for t in torch.linspace(0, 1, steps).tolist():
            noise.append(slerp(start, stop, t) if spherical else torch.lerp(start, stop, t))
    drawn = as_bytes(draw(torch.stack(noise)))
    return drawn.reshape(len(starts), steps, *drawn.shape[1:])


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Pictures of a sum of noise vectors: `plus` - `minus` + `other`.

    Attributes:
        rows: the three examples' pictures, each (k, h, w, c) uint8.
        means: picture of the mean noise of each row, (3, h, w, c).
        result: picture of the sum, (h, w, c).
        around: pictures near the sum, (n, h, w, c).
        noise: (noise_dim,) the sum itself.
    """

    rows: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
    means: NDArray[np.uint8]
    result: NDArray[np.uint8]
    around: NDArray[np.uint8]
    noise: Tensor


@torch.inference_mode()
def arithmetic(
    draw: Draw,
    plus: Tensor,
    minus: Tensor,
    other: Tensor,
    *,
    around: int = 8,
    scale: float = 0.25,
    seed: int = 0,
) -> Arithmetic:
    """Average the noise of each example, and draw plus - minus + other.

    Radford et al., 2016, arXiv:1511.06434, section 6.3.2: three examples of each; pictures around
    the sum show that it is no accident.

    Args:
        draw: the generator.
        plus: (k, noise_dim) noise of pictures that show a thing with a trait.
        minus: (k, noise_dim) of the thing without it.
        other: (k, noise_dim) of another thing without it.
        around: how many pictures near the sum are drawn.
        scale: these differ by uniform noise in ±scale.
        seed: of that noise.

    Raises:
        MetricsError: the examples' shapes do not fit.
    """
    groups = (plus, minus, other)
    if any(each.ndim != 2 or not len(each) or each.shape[1:] != plus.shape[1:] for each in groups):
        raise MetricsError(
            "examples", [tuple(each.shape) for each in groups], "do not fit", "give (k, dim) each"
        )
    means = torch.stack([each.mean(dim=0) for each in groups])
    noise = means[0] - means[1] + means[2]
    generator = torch.Generator().manual_seed(seed)
    offsets = scale * (2 * torch.rand(around, len(noise), generator=generator) - 1)
    drawn = as_bytes(draw(torch.cat([*groups, means, noise[None], noise + offsets])))
    ends = np.cumsum([len(each) for each in groups] + [3, 1])
    first, second, third, middle, result, near = np.split(drawn, ends)
    return Arithmetic((first, second, third), middle, result[0], near, noise)


def write_interpolations(path: Path, walks: NDArray[np.uint8], *, cell: int = 64) -> Path:
    """Write (n, steps, h, w, c) uint8 as a sheet of one row a walk; return `path`.

    Raises:
        MetricsError: the path's ending names no picture format, or its folder does not exist.
    """
    return write_rows(path, [list(walk) for walk in walks], cell=cell)


def write_arithmetic(
    path: Path, made: Arithmetic, *, titles: tuple[str, str, str] = ("+", "−", "+"), cell: int = 64
) -> Path:
    """Write the examples with their means, and below them the sum with what lies around it.

    Raises:
        MetricsError: the path's ending names no picture format, or its folder does not exist.
    """
    rows = [[mean, *row] for mean, row in zip(made.means, made.rows, strict=True)]
    names = [f"{title}   (mean, then the examples)" for title in titles]
    return write_rows(
        path,
        [*rows, [made.result, *made.around]],
        titles=[*names, "=   (then pictures around it)"],
        cell=cell,
    )


def write_neighbours(
    path: Path,
    generated: NDArray[np.uint8],
    training: NDArray[np.uint8],
    rows: NDArray[np.int64],
    *,
    cell: int = 64,
    limit: int = 12,
) -> Path:
    """Write each generated picture, and right of it its nearest training pictures.

    Args:
        path: ends in .png, .webp, .jpg or .jpeg.
        generated: (n, h, w, c) uint8.
        training: (m, h, w, c) uint8.
        rows: (n, k) from `find_neighbours`.
        cell: side at which a picture is shown.
        limit: pictures shown at most.

    Raises:
        MetricsError: see `write_rows`.
    """
    shown = [
        [picture, *(training[row] for row in near)]
        for picture, near in zip(generated[:limit], rows[:limit].tolist(), strict=True)
    ]
    titles = ["generated, then the nearest of the training set"] + [""] * (len(shown) - 1)
    return write_rows(path, shown, titles=titles, cell=cell)


def write_rows(
    path: Path,
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    *,
    titles: Sequence[str] = (),
    cell: int = 64,
) -> Path:
    """Write rows of pictures (h, w, 1 or 3) uint8 as one sheet; return `path`.

    Small pictures are shown by whole pixels where the cell is a multiple of their side.

    Args:
        path: ends in .png, .webp, .jpg or .jpeg.
        rows: may be of different lengths.
        titles: a line above each row; none where empty.
        cell: side of a cell in pixels.

    Raises:
        MetricsError: there is no picture, titles do not fit, or the path cannot be written to.
    """
    check_grid_path(path)
    if not rows or not max(len(row) for row in rows):
        raise MetricsError("rows", len(rows), "hold no picture", "give 1 or more")
    if titles and len(titles) != len(rows):
        raise MetricsError("titles", len(titles), f"do not fit {len(rows)} rows", "give one a row")
    lines = list(titles) or [""] * len(rows)
    heights = [cell + _GAP + (_TITLE if line else 0) for line in lines]
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (cell + _GAP) + _GAP, sum(heights) + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    top = _GAP
    for row, line, height in zip(rows, lines, heights, strict=True):
        place = top
        if line:
            pen.text((_GAP, top), line, fill=_INK, font=font)
            place += _TITLE
        for column, picture in enumerate(row):
            sheet.paste(_cell(picture, cell), (_GAP + column * (cell + _GAP), place))
        top += height
    buffer = io.BytesIO()
    sheet.save(buffer, picture_format(path))
    return write_atomically(path, buffer.getvalue())


def _cell(picture: NDArray[np.uint8], side: int) -> Image.Image:
    array = np.ascontiguousarray(picture)
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).convert("RGB")
    whole = side % image.width == 0 and side % image.height == 0
    return image.resize(
        (side, side), Image.Resampling.NEAREST if whole else Image.Resampling.BICUBIC
    )
