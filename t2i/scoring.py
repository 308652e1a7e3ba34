"""Scores of pictures, each computed alone so that it depends on nothing but its own inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i.compute import run_apart

__all__ = ["Scorer", "score_pictures"]


class Scorer(Protocol):
    """A network that compares pictures with embeddings."""

    def __call__(self, pictures: Tensor, embeddings: Tensor, /) -> Tensor:
        """Map `(n, 3, r, r)` in [-1, 1] and `(n, dim)` to scores `(n,)`."""


def score_pictures(
    scorer: Scorer, pairs: Iterable[tuple[NDArray[np.uint8], Tensor]]
) -> list[float]:
    """Return the scores of pictures.

    Args:
        scorer: in evaluation mode, on the CPU: it is small, and the CPU's bits stay the same.
        pairs: `(r, r, 3)` uint8 pictures, each with the embedding `(dim,)` of what it should show.
    """

    def alone(pair: tuple[NDArray[np.uint8], Tensor]) -> float:
        picture, embedding = pair
        # New memory: kernels may differ with the alignment of what they read.
        pixels = torch.tensor(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        return float(scorer(pixels[None].float() / 127.5 - 1.0, embedding.clone()[None])[0])

    return run_apart(alone, pairs)
