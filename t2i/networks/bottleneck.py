"""A very deep residual generator and critic (WGAN-GP, 1704.00028, section 5.2: 101 layers)."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Critic, PictureGenerator
from t2i.networks.dcgan import first_side
from t2i.networks.residual import convolution

BLOCKS = 6
# What a block adds to its input: sums of dozens of them would grow.
SHARE = 0.3


class Bottleneck(nn.Module):
    """ReLU and 1x1, ReLU and 3x3, ReLU and 1x1, a norm, beside a shortcut.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
        norm: What follows the last convolution.
        scale: 2 doubles the side, ½ halves it, 1 keeps it.
    """

    def __init__(self, inward: int, outward: int, norm: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        narrow, wide = max(1, inward // 2), max(1, outward // 2)
        self.convolve1 = convolution(inward, narrow, 1)
        self.convolve2 = convolution(narrow, wide)
        self.convolve3 = convolution(wide, outward, 1)
        self.norm = norm
        straight = inward == outward and scale == 1.0
        self.shortcut = nn.Identity() if straight else convolution(inward, outward, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, scale h, scale w)``."""
        y = self.convolve1(F.relu(x))
        y = self.convolve3(F.relu(self.convolve2(F.relu(self._scaled(y)))))
        total: Tensor = self._scaled(self.shortcut(x)) + SHARE * self.norm(y)
        return total

    def _scaled(self, x: Tensor) -> Tensor:
        if self.scale == 1.0:
            return x
        if self.scale < 1.0:
            return F.avg_pool2d(x, round(1.0 / self.scale))
        return F.interpolate(x, scale_factor=self.scale, mode="nearest")


class DeepGenerator(PictureGenerator):
    """Six bottlenecks at each side, one between two sides; 101 layers at 64 pixels.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        noise_dim: Length of the noise.
        width: Channels at half the pictures' side; they double as the side halves.
    """

    def __init__(
        self, *, resolution: int = 64, channels: int = 3, noise_dim: int = 128, width: int = 64
    ) -> None:
        super().__init__(
            condition_dim=0,
            noise_dim=noise_dim,
            resolutions=(resolution,),
            config={
                "resolution": resolution,
                "channels": channels,
                "noise_dim": noise_dim,
                "width": width,
            },
        )
        sides = _widths(resolution, width)
        self.start_shape = (sides[0], first_side(resolution), first_side(resolution))
        self.start = nn.Linear(noise_dim, math.prod(self.start_shape))
        blocks: list[nn.Module] = []
        for here, after in zip(sides, [*sides[1:], 0], strict=True):
            keep = BLOCKS if after else BLOCKS - 1
            blocks += [Bottleneck(here, here, nn.BatchNorm2d(here)) for _ in range(keep)]
            blocks += [Bottleneck(here, after, nn.BatchNorm2d(after), 2.0)] if after else []
        self.blocks = nn.Sequential(*blocks)
        self.last = convolution(sides[-1], channels, 1, gain=1.0)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map noise to ``(n, channels, r, r)`` in [-1, 1]; there is no condition."""
        x = self.blocks(self.start(noise).unflatten(1, self.start_shape))
        drawn: Tensor = (self.last(x) / 5.0).tanh()
        return drawn


class DeepCritic(Critic):
    """The generator's bottlenecks in the other order, normalised sample by sample.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        width: Channels at half the pictures' side; they double as the side halves.
    """

    def __init__(self, *, resolution: int = 64, channels: int = 3, width: int = 64) -> None:
        sides = _widths(resolution, width)[::-1]
        super().__init__(feature_dim=sides[-1] * first_side(resolution) ** 2)
        blocks: list[nn.Module] = [convolution(channels, sides[0], 1, gain=1.0)]
        for before, here in zip([0, *sides[:-1]], sides, strict=True):
            blocks += [Bottleneck(before, here, nn.GroupNorm(1, here), 0.5)] if before else []
            keep = BLOCKS if before else BLOCKS - 1
            blocks += [Bottleneck(here, here, nn.GroupNorm(1, here)) for _ in range(keep)]
        self.blocks = nn.Sequential(*blocks, nn.Flatten())

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, channels, r, r)`` to ``(n, feature_dim)``."""
        features: Tensor = self.blocks(pictures) / 5.0
        return features


def _widths(resolution: int, width: int) -> list[int]:
    """Channels at each side, from the smallest to the pictures' own."""
    doublings = round(math.log2(resolution / first_side(resolution)))
    return [max(2, width * 2**power // 2) for power in range(doublings, -1, -1)]
