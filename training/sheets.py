"""What a run draws now and then to see how far it is, for data without captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from t2i.networks.base import Drawn
from t2i.sheets import contact_sheet

COLUMNS = 8
POINTS = 2000
SIDE = 480
TEXTS = 32


class Sheet(Protocol):
    """Draws with a generator and keeps what came of it."""

    def save(self, generator: nn.Module, path: Path) -> None:
        """Write a file at ``path``, perhaps with another suffix."""


class PictureSheet:
    """Rows of pictures, one column a seed: a row for each condition, or all by seed alone.

    Args:
        embeddings: ``(rows, condition_dim)``; with ``condition_dim`` 0 every place has its own
            seed, otherwise a column shares one.
        names: What each row shows; written beside the sheets.
        seed: Seed of the noise, the same for every sheet of a run.
    """

    def __init__(self, embeddings: Tensor, names: Sequence[str] = (), *, seed: int = 0) -> None:
        self._embeddings = embeddings
        self._names = tuple(names)
        self._seed = seed

    @torch.inference_mode()
    def save(self, generator: nn.Module, path: Path) -> None:
        """Write the sheet as PNG."""
        rows, dim = self._embeddings.shape
        noise_dim = _noise_dim(generator)
        z = _noise(COLUMNS if dim else rows * COLUMNS, noise_dim, self._seed)
        z = z.repeat(rows, 1) if dim else z
        drawn = _draw(generator, self._embeddings.repeat_interleave(COLUMNS, dim=0), z)
        levels = drawn.add(1).mul(127.5).round().clamp(0, 255).byte()
        levels = levels.expand(-1, 3, -1, -1) if levels.shape[1] == 1 else levels
        cells = [Image.fromarray(a) for a in levels.permute(0, 2, 3, 1).numpy()]
        _write(contact_sheet([cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]), path)
        if self._names:
            (path.parent / "rows.txt").write_text("\n".join(self._names) + "\n")


class ScatterSheet:
    """Real points in grey and generated ones in blue.

    Args:
        real: ``(n, 2)`` points of the data.
        embeddings: ``(rows, condition_dim)`` to draw from in turn.
        seed: Seed of the noise.
    """

    def __init__(self, real: NDArray[np.generic], embeddings: Tensor, *, seed: int = 0) -> None:
        self._real = real[:POINTS].astype(np.float64)
        self._embeddings = embeddings
        self._seed = seed

    @torch.inference_mode()
    def save(self, generator: nn.Module, path: Path) -> None:
        """Write the plot as PNG."""
        rows = torch.arange(POINTS) % len(self._embeddings)
        z = _noise(POINTS, _noise_dim(generator), self._seed)
        drawn = _draw(generator, self._embeddings[rows], z).double().numpy()
        picture = Image.new("RGB", (SIDE, SIDE), "white")
        pen = ImageDraw.Draw(picture)
        low, high = self._real.min(axis=0), self._real.max(axis=0)
        # The data fills two thirds of the plot; what lies far off is drawn at its edge.
        middle, reach = (low + high) / 2, 0.75 * float((high - low).max()) + 1e-9
        for points, colour in ((self._real, (190, 190, 190)), (drawn, (30, 80, 220))):
            placed = (points - middle) / (2 * reach) + 0.5
            placed = np.nan_to_num(placed, nan=0.0).clip(0.0, 1.0) * (SIDE - 1)
            if placed.shape[1] == 1:
                placed = np.concatenate([placed, np.full_like(placed, SIDE / 2)], axis=1)
            for x, y in placed[:, :2]:
                pen.ellipse((x - 1, SIDE - y - 1, x + 1, SIDE - y + 1), fill=colour)
        _write(picture, path)


class TokenSheet:
    """Generated token sequences as lines of text.

    Args:
        vocabulary: What each token stands for; numbers are written without one.
        embeddings: ``(rows, condition_dim)`` to draw from in turn.
        joined_by: What stands between two tokens.
        seed: Seed of the noise.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        embeddings: Tensor,
        *,
        joined_by: str = "",
        seed: int = 0,
    ) -> None:
        self._vocabulary = tuple(vocabulary)
        self._embeddings = embeddings
        self._joined_by = joined_by
        self._seed = seed

    @torch.inference_mode()
    def save(self, generator: nn.Module, path: Path) -> None:
        """Write one line a sequence, to ``path`` with the suffix ``.txt``."""
        rows = torch.arange(TEXTS) % len(self._embeddings)
        z = _noise(TEXTS, _noise_dim(generator), self._seed)
        drawn = _draw(generator, self._embeddings[rows], z)
        tokens = drawn.argmax(dim=-1) if drawn.dim() == 3 else drawn.long()
        lines = [self._joined_by.join(self._word(t) for t in row) for row in tokens.tolist()]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.replace(path.with_suffix(".txt"))

    def _word(self, token: int) -> str:
        return self._vocabulary[token] if token < len(self._vocabulary) else f"<{token}>"


def _noise(count: int, dim: int, seed: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def _noise_dim(generator: nn.Module) -> int:
    dim = generator.noise_dim
    assert isinstance(dim, int)
    return dim


def _draw(generator: nn.Module, embeddings: Tensor, noise: Tensor) -> Tensor:
    device = next(generator.parameters()).device
    drawn: Drawn = generator(embeddings.to(device), noise.to(device))
    return drawn.pictures[-1].float().cpu()


def _write(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    picture.save(partial, format="PNG")
    partial.replace(path)
