"""Residual generator and critic for small pictures (SNGAN table 4, WGAN-GP appendix F)."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Critic, Joining, PictureGenerator, normalize_spectrally
from t2i.networks.conditional_norm import ConditionalBatchNorm2d
from t2i.networks.dcgan import first_side

CriticNorm = Literal["none", "layer", "spectral"]


def convolution(
    inward: int, outward: int, size: int = 3, gain: float = math.sqrt(2.0)
) -> nn.Conv2d:
    """Convolution that keeps the side, drawn from Glorot's uniform distribution, bias zero."""
    layer = nn.Conv2d(inward, outward, size, padding=size // 2)
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class UpBlock(nn.Module):
    """BatchNorm, ReLU, double, convolve, twice, beside a shortcut that doubles.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
        condition_dim: Length of the embedding that BatchNorm follows; 0 for none.
    """

    def __init__(self, inward: int, outward: int, condition_dim: int = 0) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm2d(inward, condition_dim)
        self.convolve1 = convolution(inward, outward)
        self.norm2 = ConditionalBatchNorm2d(outward, condition_dim)
        self.convolve2 = convolution(outward, outward)
        self.shortcut = convolution(inward, outward, 1, gain=1.0)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, 2h, 2w)``."""
        y = F.interpolate(F.relu(self.norm1(x, embedding)), scale_factor=2.0, mode="nearest")
        y = self.convolve2(F.relu(self.norm2(self.convolve1(y), embedding)))
        # A 1x1 convolution commutes with nearest-neighbour enlargement, and is cheaper before it.
        shortcut = F.interpolate(self.shortcut(x), scale_factor=2.0, mode="nearest")
        total: Tensor = y + shortcut
        return total


class CriticBlock(nn.Module):
    """ReLU, convolve, ReLU, convolve, perhaps halve, beside a shortcut.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
        halve: Halve height and width by averaging.
        first: The input is a picture: no ReLU before the first convolution.
        layer_norm: Normalise each sample's features before each ReLU.
    """

    def __init__(
        self,
        inward: int,
        outward: int,
        *,
        halve: bool,
        first: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        # One group over all channels: layer normalisation, the same for any side.
        self.norm1 = nn.GroupNorm(1, inward) if layer_norm and not first else nn.Identity()
        self.norm2 = nn.GroupNorm(1, outward) if layer_norm else nn.Identity()
        self.convolve1 = convolution(inward, outward)
        self.convolve2 = convolution(outward, outward)
        straight = inward == outward and not halve
        self.shortcut = nn.Identity() if straight else convolution(inward, outward, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, h', w')``."""
        y = x if self.first else F.relu(self.norm1(x))
        y = self.convolve2(F.relu(self.norm2(self.convolve1(y))))
        shortcut = x
        if self.halve:
            y, shortcut = F.avg_pool2d(y, 2), F.avg_pool2d(x, 2)
        total: Tensor = y + self.shortcut(shortcut)
        return total


class ResidualGenerator(PictureGenerator):
    """A linear layer, residual blocks that double the side, BatchNorm, ReLU, 3x3, tanh.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding that BatchNorm's gains and biases follow.
        noise_dim: Length of the noise.
        width: Channels of every block.
    """

    def __init__(
        self,
        *,
        resolution: int = 32,
        channels: int = 3,
        condition_dim: int = 0,
        noise_dim: int = 128,
        width: int = 256,
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
        self.start = nn.Linear(noise_dim, width * side * side)
        nn.init.xavier_uniform_(self.start.weight)
        self.start_shape = (width, side, side)
        doublings = round(math.log2(resolution / side))
        self.blocks = nn.ModuleList(UpBlock(width, width, condition_dim) for _ in range(doublings))
        self.norm = nn.BatchNorm2d(width)
        self.last = convolution(width, channels, gain=1.0)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map embedding and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        x = self.start(noise).unflatten(1, self.start_shape)
        for block in self.blocks:
            x = block(x, embedding)
        drawn: Tensor = self.last(F.relu(self.norm(x))).tanh()
        return drawn


class ResidualCritic(Critic):
    """Residual blocks, two or more of which halve the side, two that keep it, then pooling.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        joining: How the condition enters.
        outputs: Outputs of a second head; 0 has none.
        width: Channels of every block.
        norm: ``none``, ``layer`` (by sample) or ``spectral``; BatchNorm would tie samples together.
        pooling: ``sum`` as in SNGAN or ``mean`` as in WGAN-GP.
    """

    def __init__(
        self,
        *,
        resolution: int = 32,
        channels: int = 3,
        condition_dim: int = 0,
        joining: Joining = "projection",
        outputs: int = 0,
        width: int = 128,
        norm: CriticNorm = "none",
        pooling: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__(
            feature_dim=width, condition_dim=condition_dim, joining=joining, outputs=outputs
        )
        self.pooling = pooling
        planes = channels + self.planes(condition_dim, joining)
        layer = norm == "layer"
        blocks = [CriticBlock(planes, width, halve=True, first=True, layer_norm=layer)]
        # 32 pixels: 16 after the first, 8 after the second; then the side stays.
        for _ in range(round(math.log2(resolution / first_side(resolution))) - 2):
            blocks.append(CriticBlock(width, width, halve=True, layer_norm=layer))
        blocks += [CriticBlock(width, width, halve=False, layer_norm=layer) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        if norm == "spectral":
            normalize_spectrally(self)

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, channels, r, r)`` to ``(n, width)``."""
        x = F.relu(self.blocks(pictures))
        return x.sum(dim=(2, 3)) if self.pooling == "sum" else x.mean(dim=(2, 3))
