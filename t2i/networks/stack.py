"""Two generators, one upon the other. Zhang et al., 2017, 1612.03242, section 3."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Drawn, PictureGenerator
from t2i.networks.blocks import ConditioningAugmentation, Standardize
from t2i.networks.dcgan import first_side, init_dcgan
from t2i.networks.settled import settled


def doubling(inward: int, outward: int) -> nn.Sequential:
    """Double the side by nearest neighbour, convolve 3x3, BatchNorm, ReLU."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), *_convolved(inward, outward))


def _convolved(inward: int, outward: int, size: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inward, outward, size, stride, padding=1, bias=False),
        nn.BatchNorm2d(outward),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions with BatchNorm beside the input.

    Args:
        channels: Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolved(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` to the same shape."""
        return F.relu(x + self.body(x))


class FirstStage(PictureGenerator):
    """Stage-I: noise and a conditioning drawn around the caption, to a small picture.

    Args:
        resolution: Side of the pictures: 8, 16, 28, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        noise_dim: Length of the noise.
        conditioning_dim: Length of the conditioning.
        width: Channels before the last doubling; they double at every halving of the side.
    """

    def __init__(
        self,
        *,
        resolution: int = 16,
        channels: int = 3,
        condition_dim: int = 384,
        noise_dim: int = 100,
        conditioning_dim: int = 128,
        width: int = 128,
    ) -> None:
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=(resolution,),
            conditioning_dim=conditioning_dim,
            config={
                "resolution": resolution,
                "channels": channels,
                "condition_dim": condition_dim,
                "noise_dim": noise_dim,
                "conditioning_dim": conditioning_dim,
                "width": width,
            },
        )
        side = first_side(resolution)
        doublings = round(math.log2(resolution / side))
        here = width * 2 ** (doublings - 1)
        self.standardize = Standardize(condition_dim)
        self.augment = ConditioningAugmentation(
            condition_dim, conditioning_dim, 2 * conditioning_dim
        )
        self.start = nn.Linear(noise_dim + conditioning_dim, here * side * side, bias=False)
        self.start_shape = (here, side, side)
        layers: list[nn.Module] = [nn.BatchNorm2d(here), nn.ReLU()]
        for _ in range(doublings):
            outward = max(1, here // 2)
            layers.append(doubling(here, outward))
            here = outward
        self.body = nn.Sequential(*layers, nn.Conv2d(here, channels, 3, padding=1), nn.Tanh())
        init_dcgan(self.body)

    def forward(
        self, embedding: Tensor, noise: Tensor, conditioning_noise: Tensor | None = None
    ) -> Drawn:
        """Draw one picture a row; without ``conditioning_noise`` the conditioning is its mean."""
        conditioning, mu, log_sigma = self.augment(self.standardize(embedding), conditioning_noise)
        x = self.start(self.joined(conditioning, noise)).unflatten(1, self.start_shape)
        return Drawn((self.body(x).float(),), mu, log_sigma)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map captions and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        return self.forward(embedding, noise).pictures[-1]


class StackGenerator(PictureGenerator):
    """Stage-II upon a frozen Stage-I: reads the small picture and the caption anew, draws it large.

    The small picture is halved twice, the conditioning put at every place, then come residual
    blocks and doublings. Learning Stage-II never moves Stage-I, `first`, which learns by itself.

    Args:
        resolution: Side of the pictures.
        factor: Side over that of Stage-I's pictures, a power of two from 2.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        noise_dim: Length of the noise, all of which Stage-I takes.
        conditioning_dim: Length of the conditioning of each stage, drawn apart.
        width: Channels of Stage-II's first layer, and of Stage-I before its last doubling.
        blocks: Residual blocks.

    Raises:
        ValueError: The factor is none.
    """

    takes_fine = True

    def __init__(
        self,
        *,
        resolution: int = 64,
        factor: int = 4,
        channels: int = 3,
        condition_dim: int = 384,
        noise_dim: int = 100,
        conditioning_dim: int = 128,
        width: int = 128,
        blocks: int = 4,
    ) -> None:
        low = resolution // max(factor, 1)
        if factor < 2 or factor & (factor - 1) or low * factor != resolution:
            raise ValueError(
                f"factor: {resolution} pixels are not {factor} times a smaller side; give 2 or 4"
            )
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=(low, resolution),
            conditioning_dim=2 * conditioning_dim,
            config={
                "resolution": resolution,
                "factor": factor,
                "channels": channels,
                "condition_dim": condition_dim,
                "noise_dim": noise_dim,
                "conditioning_dim": conditioning_dim,
                "width": width,
                "blocks": blocks,
            },
        )
        self.first = FirstStage(
            resolution=low,
            channels=channels,
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            conditioning_dim=conditioning_dim,
            width=width,
        )
        self.standardize = Standardize(condition_dim)
        self.augment = ConditioningAugmentation(
            condition_dim, conditioning_dim, 2 * conditioning_dim
        )
        halvings = min(2, round(math.log2(low / first_side(low))))
        here = width
        look: list[nn.Module] = [nn.Conv2d(channels, here, 3, padding=1), nn.ReLU()]
        for _ in range(halvings):
            look += _convolved(here, 2 * here, 4, 2)
            here *= 2
        self.look = nn.Sequential(*look)
        layers: list[nn.Module] = [*_convolved(here + conditioning_dim, here)]
        layers += [Residual(here) for _ in range(blocks)]
        for _ in range(halvings + round(math.log2(factor))):
            outward = max(1, here // 2)
            layers.append(doubling(here, outward))
            here = outward
        self.body = nn.Sequential(*layers, nn.Conv2d(here, channels, 3, padding=1), nn.Tanh())
        for part in (self.look, self.body):
            init_dcgan(part)

    def forward(
        self,
        embedding: Tensor,
        noise: Tensor,
        conditioning_noise: Tensor | None = None,
        *,
        fine: Tensor | None = None,
        fine_from: int = 1,
    ) -> Drawn:
        """Draw the small and the large picture; the conditioning told is that of Stage-II.

        Args:
            embedding: ``(n, condition_dim)``.
            noise: ``(n, noise_dim)``.
            conditioning_noise: ``(n, conditioning_dim)``; None for the mean.
            fine: ``(n, condition_dim)`` that Stage-II reads; None for ``embedding``.
            fine_from: 1, the only stage that there is to choose.
        """
        before = around = conditioning_noise
        if conditioning_noise is not None:
            before, around = conditioning_noise.chunk(2, dim=1)
        with torch.no_grad(), settled(self.first):
            small = self.first(embedding, noise, before).pictures[-1]
        read = embedding if fine is None else fine
        conditioning, mu, log_sigma = self.augment(self.standardize(read), around)
        seen = self.look(small)
        places = conditioning.to(seen.dtype)[:, :, None, None].expand(-1, -1, *seen.shape[2:])
        large = self.body(torch.cat([seen, places], dim=1))
        return Drawn((small, large.float()), mu, log_sigma)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map captions and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        return self.forward(embedding, noise).pictures[-1]
