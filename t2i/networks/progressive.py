"""Generator and critic that grow. Karras et al., 2018, 1710.10196, section 2 and table 2."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Critic, PictureGenerator
from t2i.networks.dcgan import first_side
from t2i.networks.equalized import (
    EqualizedConv2d,
    EqualizedLinear,
    batch_deviation,
    pixel_norm,
)

LEAK = 0.2


def doublings_of(resolution: int) -> int:
    """How often the first side of 4 to 7 pixels doubles up to ``resolution``."""
    return round(math.log2(resolution / first_side(resolution)))


def channels_at(side: int, width: int) -> int:
    """Channels of features of this side: ``width``, but no more than the paper's 16384 / side."""
    return max(1, min(width, 16384 // side))


def grown_side(resolution: int, level: float) -> int:
    """Side of the pictures at this level: it doubles as soon as a fade begins."""
    return resolution >> (doublings_of(resolution) - math.ceil(level))


def as_grown(pictures: Tensor, level: float) -> Tensor:
    """Show ``(n, c, r, r)`` as finely as players of this level see, at the same side.

    In a fade it is the mixture of both sides, as in what the generator draws.
    """
    side = grown_side(pictures.shape[-1], level)
    fine, share = _pooled(pictures, side), level % 1.0
    if share:
        fine = torch.lerp(_enlarged(_pooled(fine, side // 2), side), fine, share)
    return _enlarged(fine, pictures.shape[-1])


def _pooled(x: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(x, x.shape[-1] // side) if x.shape[-1] > side else x


def _enlarged(x: Tensor, side: int) -> Tensor:
    # Nearest neighbour: pooling takes it back without loss.
    return F.interpolate(x, size=(side, side), mode="nearest") if x.shape[-1] < side else x


class GeneratorBlock(nn.Module):
    """Two 3x3 convolutions, each with leaky ReLU and pixel norm; the first may enlarge before.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
    """

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.convolve1 = EqualizedConv2d(inward, outward, 3)
        self.convolve2 = EqualizedConv2d(outward, outward, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, 2h, 2w)``."""
        x = _enlarged(x, 2 * x.shape[-1])
        x = pixel_norm(F.leaky_relu(self.convolve1(x), LEAK))
        return pixel_norm(F.leaky_relu(self.convolve2(x), LEAK))


class CriticBlock(nn.Module):
    """Two 3x3 convolutions with leaky ReLU, then the side is halved by averaging.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
    """

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.convolve1 = EqualizedConv2d(inward, inward, 3)
        self.convolve2 = EqualizedConv2d(inward, outward, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, h/2, w/2)``."""
        x = F.leaky_relu(self.convolve1(x), LEAK)
        return F.avg_pool2d(F.leaky_relu(self.convolve2(x), LEAK), 2)


class ProgressiveGenerator(PictureGenerator):
    """Draws as finely as it has grown; what is not grown yet is neither run nor trained.

    The buffer ``level`` counts doublings: 1.25 draws a quarter of the second doubling and three
    quarters of the first, enlarged. Pictures always have the full side.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        noise_dim: Length of the noise, which is put on a sphere.
        width: Channels of coarse features; fine ones have at most 16384 / side.
    """

    level: Tensor

    def __init__(
        self, *, resolution: int = 64, channels: int = 3, noise_dim: int = 512, width: int = 512
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
        self.first, self.side = first_side(resolution), resolution
        count = doublings_of(resolution)
        widths = [channels_at(self.first * 2**k, width) for k in range(count + 1)]
        # As a convolution with a kernel of the first side, whose constant counts its places too.
        gain = math.sqrt(2.0) / self.first
        self.start = EqualizedLinear(noise_dim, widths[0] * self.first**2, gain=gain)
        self.refine = EqualizedConv2d(widths[0], widths[0], 3)
        self.blocks = nn.ModuleList(GeneratorBlock(widths[k], widths[k + 1]) for k in range(count))
        self.to_picture = nn.ModuleList(
            EqualizedConv2d(here, channels, 1, gain=1.0) for here in widths
        )
        self.register_buffer("level", torch.zeros(()))

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map noise to ``(n, channels, r, r)``; in [-1, 1] once it no longer trains."""
        level = float(self.level)
        x = self.start(pixel_norm(noise)).unflatten(1, (-1, self.first, self.first))
        x = pixel_norm(F.leaky_relu(x, LEAK))
        x = before = pixel_norm(F.leaky_relu(self.refine(x), LEAK))
        highest = math.ceil(level)
        for block in self.blocks[:highest]:
            before, x = x, block(x)
        drawn: Tensor = self.to_picture[highest](x)
        if level % 1.0:
            coarse = _enlarged(self.to_picture[highest - 1](before), drawn.shape[-1])
            drawn = torch.lerp(coarse, drawn, level % 1.0)
        drawn = _enlarged(drawn, self.side)
        # No tanh: a clamp while it trains would take the gradient of what it holds back.
        return drawn if self.training else drawn.clamp(-1.0, 1.0)


class ProgressiveCritic(Critic):
    """Looks as finely as it has grown; the mirror image of the generator.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        width: Channels of coarse features; fine ones have at most 16384 / side.
        deviation: Show the last block how much the pictures of a batch differ.
    """

    level: Tensor

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        width: int = 512,
        deviation: bool = True,
    ) -> None:
        first, count = first_side(resolution), doublings_of(resolution)
        widths = [channels_at(first * 2**k, width) for k in range(count + 1)]
        super().__init__(feature_dim=widths[0])
        self.side, self.deviation = resolution, deviation
        self.from_picture = nn.ModuleList(EqualizedConv2d(channels, here, 1) for here in widths)
        self.blocks = nn.ModuleList(CriticBlock(widths[k + 1], widths[k]) for k in range(count))
        self.refine = EqualizedConv2d(widths[0] + deviation, widths[0], 3)
        self.gather = EqualizedConv2d(widths[0], widths[0], first, padding=0)
        self.score = EqualizedLinear(widths[0], 1, gain=1.0)
        self.register_buffer("level", torch.zeros(()))

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, channels, r, r)`` to ``(n, features)``."""
        level = float(self.level)
        highest = math.ceil(level)
        seen = _pooled(pictures, grown_side(self.side, level))
        x = F.leaky_relu(self.from_picture[highest](seen), LEAK)
        for number in reversed(range(highest)):
            x = self.blocks[number](x)
            if number == highest - 1 and level % 1.0:
                coarse = F.leaky_relu(self.from_picture[number](F.avg_pool2d(seen, 2)), LEAK)
                x = torch.lerp(coarse, x, level % 1.0)
        x = batch_deviation(x) if self.deviation else x
        x = F.leaky_relu(self.refine(x), LEAK)
        return F.leaky_relu(self.gather(x), LEAK).flatten(1)
