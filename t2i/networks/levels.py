"""Generator of discrete pictures: it gives every level of every pixel a probability."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2i.networks.base import PictureGenerator
from t2i.networks.dcgan import DcganGenerator


class LevelGenerator(PictureGenerator):
    """DCGAN's layers to the probabilities of levels, from which each pixel is drawn on its own.

    The noise is that of the layers, followed by one entry a pixel and channel that decides its
    level; so a picture is still a function of its noise, and of its seed.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        levels: Different values of a pixel, evenly from -1 to 1; 2 for black and white.
        source_dim: Length of the layers' own noise.
        width: Channels of the last hidden layer.
        norm: BatchNorm in the hidden layers.
    """

    def __init__(
        self,
        *,
        resolution: int = 28,
        channels: int = 1,
        levels: int = 2,
        source_dim: int = 64,
        width: int = 64,
        norm: bool = True,
    ) -> None:
        shape = (channels, resolution, resolution)
        super().__init__(
            condition_dim=0,
            noise_dim=source_dim + channels * resolution**2,
            resolutions=(resolution,),
            config={
                "resolution": resolution,
                "channels": channels,
                "levels": levels,
                "source_dim": source_dim,
                "width": width,
                "norm": norm,
            },
        )
        self.shape = shape
        self.levels = levels
        self.source_dim = source_dim
        trunk = DcganGenerator(
            resolution=resolution,
            channels=channels * levels,
            noise_dim=source_dim,
            width=width,
            norm=norm,
        )
        # Without the tanh: logits are not bounded.
        self.start, self.body = trunk.start, nn.Sequential(*list(trunk.body)[:-1])
        self.start_shape = trunk.start_shape

    def log_chances(self, source: Tensor) -> Tensor:
        """Map ``(n, source_dim)`` to log-probabilities ``(n, levels, channels, r, r)``."""
        logits = self.body(self.start(source).unflatten(1, self.start_shape))
        chances: Tensor = logits.float().unflatten(1, (self.levels, -1)).log_softmax(dim=1)
        return chances

    def values(self, levels: Tensor) -> Tensor:
        """Map numbers of levels, from 0, to pixels in [-1, 1] of the same shape."""
        return levels.float() * (2.0 / (self.levels - 1)) - 1.0

    def nearest(self, pictures: Tensor) -> Tensor:
        """Move pixels in [-1, 1] to the nearest of the levels' values."""
        steps = (pictures + 1.0) * (0.5 * (self.levels - 1))
        return self.values(steps.round().clamp(0, self.levels - 1))

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Draw ``(n, channels, r, r)`` pictures that hold the levels' values alone."""
        source, deciding = noise[:, : self.source_dim], noise[:, self.source_dim :]
        chosen = torch.special.ndtr(deciding.float()).reshape(-1, *self.shape)
        return self.values(pick(self.log_chances(source), chosen))


def pick(log_chances: Tensor, uniform: Tensor) -> Tensor:
    """Choose levels by their probabilities.

    Args:
        log_chances: ``(..., levels, channels, r, r)`` log-probabilities.
        uniform: ``(..., channels, r, r)`` numbers from 0 to 1.

    Returns:
        ``(..., channels, r, r)`` int64 numbers of levels.
    """
    # The last sum is 1 up to rounding, which must not make a level beyond the last.
    sums = log_chances.exp().cumsum(dim=-4).narrow(-4, 0, log_chances.shape[-4] - 1)
    return (uniform.unsqueeze(-4) >= sums).sum(dim=-4)


def pick_several(log_chances: Tensor, uniform: Tensor) -> Tensor:
    """Choose levels by the same probabilities several times.

    Args:
        log_chances: ``(n, levels, channels, r, r)`` log-probabilities.
        uniform: ``(n, m · channels · r · r)`` numbers from 0 to 1.

    Returns:
        ``(n, m, channels, r, r)`` int64 numbers of levels.
    """
    chances = log_chances.unsqueeze(1)
    return pick(chances, uniform.reshape(len(uniform), -1, *log_chances.shape[2:]))


def log_likelihood(log_chances: Tensor, levels: Tensor) -> Tensor:
    """Return ``(n, m)``: the log-probability of whole pictures, the sum over their pixels.

    Args:
        log_chances: ``(n, levels, channels, r, r)`` log-probabilities.
        levels: ``(n, m, channels, r, r)`` int64 numbers of levels, m pictures a row.
    """
    spread = log_chances.unsqueeze(1).expand(-1, levels.shape[1], -1, -1, -1, -1)
    return spread.gather(2, levels.unsqueeze(2)).flatten(2).sum(dim=2)
