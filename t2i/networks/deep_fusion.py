"""Captions fused into every layer, and their critic. Tao et al., 2022, 2008.05865, section 3."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import PictureGenerator
from t2i.networks.blocks import LEAK, Standardize
from t2i.networks.caption_critic import CaptionCritic
from t2i.networks.dcgan import first_side

# Channels stop growing at so many times those of the finest layer.
WIDEST = 8


class Affine(nn.Module):
    """Scale and shift each channel by what the condition says; the identity at first.

    Args:
        condition_dim: Length of the condition.
        channels: Channels of the features.
    """

    def __init__(self, condition_dim: int, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = (
            nn.Sequential(
                nn.Linear(condition_dim, channels), nn.ReLU(), nn.Linear(channels, channels)
            )
            for _ in range(2)
        )
        for mlp, start in ((self.scale, 1.0), (self.shift, 0.0)):
            last = mlp[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, start)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` under ``(n, condition_dim)`` to the same shape."""
        scale, shift = (
            each(condition).to(x.dtype)[:, :, None, None] for each in (self.scale, self.shift)
        )
        return torch.addcmul(shift, x, scale)


class Fusion(nn.Module):
    """Two affine transformations, each followed by leaky ReLU.

    Args:
        condition_dim: Length of the condition.
        channels: Channels of the features.
    """

    def __init__(self, condition_dim: int, channels: int) -> None:
        super().__init__()
        self.first = Affine(condition_dim, channels)
        self.second = Affine(condition_dim, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` under ``(n, condition_dim)`` to the same shape."""
        x = F.leaky_relu(self.first(x, condition), LEAK)
        return F.leaky_relu(self.second(x, condition), LEAK)


class UpBlock(nn.Module):
    """Double the side, then fuse and convolve twice, beside a shortcut.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
        condition_dim: Length of the condition.
    """

    def __init__(self, inward: int, outward: int, condition_dim: int) -> None:
        super().__init__()
        self.fuse1 = Fusion(condition_dim, inward)
        self.convolve1 = nn.Conv2d(inward, outward, 3, padding=1)
        self.fuse2 = Fusion(condition_dim, outward)
        self.convolve2 = nn.Conv2d(outward, outward, 3, padding=1)
        self.shortcut = nn.Conv2d(inward, outward, 1) if inward != outward else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, 2h, 2w)``."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y = self.convolve1(self.fuse1(x, condition))
        y = self.convolve2(self.fuse2(y, condition))
        total: Tensor = self.shortcut(x) + y
        return total


class FusionGenerator(PictureGenerator):
    """One stage: noise to 4x4 features, blocks that double them under noise and caption.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        noise_dim: Length of the noise.
        width: Channels of the last block; they double at every halving of the side, up to 8 times.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 384,
        noise_dim: int = 100,
        width: int = 32,
    ) -> None:
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=(resolution,),
            config={
                "resolution": resolution,
                "channels": channels,
                "condition_dim": condition_dim,
                "noise_dim": noise_dim,
                "width": width,
            },
        )
        side = first_side(resolution)
        widths = _widths(resolution, width)[::-1]
        self.standardize = Standardize(condition_dim)
        self.start = nn.Linear(noise_dim, widths[0] * side * side)
        self.start_shape = (widths[0], side, side)
        self.blocks = nn.ModuleList(
            UpBlock(inward, outward, noise_dim + condition_dim)
            for inward, outward in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map captions and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        condition = self.joined(self.standardize(embedding), noise)
        x = self.start(noise).unflatten(1, self.start_shape)
        for block in self.blocks:
            x = block(x, condition)
        return torch.tanh(self.last(F.leaky_relu(x, LEAK)).float())


class DownBlock(nn.Module):
    """4x4 convolution that halves the side, then 3x3, beside a shortcut; γ, from 0, weighs them.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
    """

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inward, outward, 4, 2, 1, bias=False),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(outward, outward, 3, padding=1, bias=False),
            nn.LeakyReLU(LEAK),
        )
        self.shortcut = nn.Conv2d(inward, outward, 1) if inward != outward else nn.Identity()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, h/2, w/2)``."""
        total: Tensor = F.avg_pool2d(self.shortcut(x), 2) + self.gamma * self.body(x)
        return total


class FusionCritic(CaptionCritic):
    """Residual halvings without any norm; one score, of the pair alone (one-way output).

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding, which is standardised and put at every place.
        width: Channels of the first layer; they double at every halving, up to 8 times.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 384,
        width: int = 32,
    ) -> None:
        widths = _widths(resolution, width)
        blocks = [DownBlock(a, b) for a, b in pairwise(widths)]
        seen, joined = widths[-1], max(1, widths[-1] // 4)
        super().__init__(
            trunk=nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), *blocks),
            shape=(seen, first_side(resolution)),
            condition_dim=condition_dim,
            code_dim=0,
            join=nn.Sequential(
                nn.Conv2d(seen + condition_dim, joined, 3, padding=1, bias=False),
                nn.LeakyReLU(LEAK),
            ),
            joined=joined,
        )


def _widths(resolution: int, width: int) -> list[int]:
    """Return the channels at each side, fine to coarse: one more than there are halvings."""
    halvings = round(math.log2(resolution / first_side(resolution)))
    return [width * min(2**k, WIDEST) for k in range(halvings + 1)]
