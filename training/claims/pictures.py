"""What claims on pictures share: how pictures and their labels come and go, and sheets of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.pictures import PictureData
from training.metrics.latent import write_rows

# As metrics and sheets take them: (n, r, r, c). `training.metrics.features.as_bytes` makes them of
# what a generator draws.
Pictures = NDArray[np.uint8]


def as_input(pictures: Pictures) -> Tensor:
    """Turn ``(n, r, r, c)`` uint8 into ``(n, c, r, r)`` in [-1, 1], as training shows them."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def labels_of(data: PictureData) -> NDArray[np.int64]:
    """Return the labels of data that has them."""
    assert data.labels is not None
    return data.labels


def show_rows(path: Path, pictures: Pictures, each: int, titles: Sequence[str] = ()) -> Path:
    """Write pictures in rows of so many."""
    rows = [list(pictures[at : at + each]) for at in range(0, len(pictures), each)]
    return write_rows(path, rows, titles=titles, cell=56)
