"""A generator that is one point: a player of a game, to be looked at without any network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from t2i.networks.base import PictureGenerator


class FixedPoint(PictureGenerator):
    """Draws the same learned sample whatever the noise.

    Args:
        sample_shape: Shape of the sample: ``(2,)`` for points.
        start: Every entry's first value.
    """

    def __init__(self, *, sample_shape: Sequence[int] = (2,), start: float = 1.0) -> None:
        shape = [int(side) for side in sample_shape]
        super().__init__(
            condition_dim=0,
            noise_dim=1,
            resolutions=(),
            config={"sample_shape": shape, "start": start},
        )
        self.point = nn.Parameter(torch.full(shape, start))

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Return the point once a row of ``noise``: ``(n, *sample_shape)``."""
        return self.point.expand(len(noise), *self.point.shape)
