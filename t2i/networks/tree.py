"""A tree of generators: one trunk, a picture at each scale. Zhang et al., 2018, 1710.10916."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from t2i.networks.base import Drawn, PictureGenerator
from t2i.networks.blocks import ConditioningAugmentation, Standardize
from t2i.networks.dcgan import first_side, init_dcgan


def gated(inward: int, outward: int) -> nn.Sequential:
    """3x3 convolution, BatchNorm, and a gated linear unit: half of the channels gate the other."""
    return nn.Sequential(
        nn.Conv2d(inward, 2 * outward, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * outward),
        nn.GLU(dim=1),
    )


def doubled(inward: int, outward: int) -> nn.Sequential:
    """Double the side by nearest neighbour, then `gated`."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), gated(inward, outward))


class GatedResidual(nn.Module):
    """A gated convolution and a plain one beside the input.

    Args:
        channels: Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            gated(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` to the same shape."""
        total: Tensor = x + self.body(x)
        return total


class Branch(nn.Module):
    """The next scale of the trunk: a context at every place, residual blocks, a doubling.

    Args:
        inward: Channels of the features before.
        context_dim: Channels of the context.
        blocks: Residual blocks.
    """

    def __init__(self, inward: int, context_dim: int, blocks: int) -> None:
        super().__init__()
        self.join = gated(inward + context_dim, inward)
        self.refine = nn.Sequential(*(GatedResidual(inward) for _ in range(blocks)))
        self.out_channels = max(1, inward // 2)
        self.enlarge = doubled(inward, self.out_channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` and ``(n, context_dim, h, w)`` to the double side."""
        joined = self.join(torch.cat([x, context.to(x.dtype)], dim=1))
        larger: Tensor = self.enlarge(self.refine(joined))
        return larger


# From the number of a finer scale, the features before it and the conditioning to its context.
Context = Callable[[int, Tensor, Tensor], Tensor]


def everywhere(number: int, x: Tensor, conditioning: Tensor) -> Tensor:
    """The conditioning at every place of ``(n, channels, h, w)``."""
    return conditioning[:, :, None, None].expand(-1, -1, *x.shape[2:])


class Tree(nn.Module):
    """Hidden features h_0, h_1 … of one trunk, each with a picture of its own.

    Args:
        resolution: Side of the finest pictures.
        scales: Number of scales; each has half the side of the next.
        channels: Channels of the pictures.
        sentence_dim: Length of a caption's embedding.
        noise_dim: Length of the noise.
        conditioning_dim: Length of the conditioning.
        width: Channels of the coarsest picture's features; each finer scale has half as many.
        blocks: Residual blocks a scale.
        attends: The context of a finer scale has the channels of the features before it, else
            those of the conditioning.

    Attributes:
        sides: Side of each scale's pictures.
        widths: Channels of each scale's features.

    Raises:
        ValueError: The side cannot be halved so often.
    """

    def __init__(
        self,
        *,
        resolution: int,
        scales: int,
        channels: int,
        sentence_dim: int,
        noise_dim: int,
        conditioning_dim: int,
        width: int,
        blocks: int,
        attends: bool = False,
    ) -> None:
        coarse = resolution >> max(scales - 1, 0)
        if scales < 1 or coarse << (scales - 1) != resolution or coarse < 8:
            raise ValueError(
                f"scales: {resolution} pixels cannot be halved {scales - 1} times to 8 or more; "
                "give a smaller number from 1, or another resolution"
            )
        super().__init__()
        self.sides = [coarse << k for k in range(scales)]
        side = first_side(coarse)
        doublings = round(math.log2(coarse / side))
        here = width * 2**doublings
        self.standardize = Standardize(sentence_dim)
        self.augment = ConditioningAugmentation(
            sentence_dim, conditioning_dim, 2 * conditioning_dim
        )
        self.start = nn.Sequential(
            nn.Linear(noise_dim + conditioning_dim, 2 * here * side * side, bias=False),
            nn.BatchNorm1d(2 * here * side * side),
            nn.GLU(dim=1),
        )
        self.start_shape = (here, side, side)
        self.trunk = nn.Sequential(*(doubled(here >> k, here >> (k + 1)) for k in range(doublings)))
        self.branches = nn.ModuleList()
        self.widths = [width]
        for _ in range(scales - 1):
            context_dim = self.widths[-1] if attends else conditioning_dim
            branch = Branch(self.widths[-1], context_dim, blocks)
            self.branches.append(branch)
            self.widths.append(branch.out_channels)
        self.to_picture = nn.ModuleList(
            nn.Conv2d(each, channels, 3, padding=1) for each in self.widths
        )
        for part in (self.start, self.trunk, self.branches, self.to_picture):
            init_dcgan(part)

    def mean(self, sentence: Tensor) -> Tensor:
        """Return μ ``(n, conditioning_dim)`` of captions."""
        mu: Tensor = self.augment(self.standardize(sentence), None)[1]
        return mu

    def forward(
        self,
        sentence: Tensor,
        noise: Tensor,
        conditioning_noise: Tensor | None,
        context: Context = everywhere,
        *,
        fine: Tensor | None = None,
        fine_from: int = 1,
    ) -> Drawn:
        """Draw a picture a row and scale.

        Args:
            sentence: ``(n, sentence_dim)``.
            noise: ``(n, noise_dim)``.
            conditioning_noise: ``(n, conditioning_dim)``; None for the mean.
            context: What is put beside the features before each finer scale.
            fine: ``(n, sentence_dim)`` that later scales are shown; None for ``sentence``.
            fine_from: Number of the first scale that is shown ``fine``, from 1.
        """
        conditioning, mu, log_sigma = self.augment(self.standardize(sentence), conditioning_noise)
        joined = torch.cat([noise, conditioning.to(noise.dtype)], dim=1)
        x = self.trunk(self.start(joined).unflatten(1, self.start_shape))
        pictures = [self._picture(0, x)]
        later = conditioning
        if fine is not None:
            later = self.augment(self.standardize(fine), conditioning_noise)[0]
        for number, branch in enumerate(self.branches, start=1):
            shown = conditioning if number < fine_from else later
            x = branch(x, context(number, x, shown))
            pictures.append(self._picture(number, x))
        return Drawn(tuple(pictures), mu, log_sigma)

    def _picture(self, number: int, x: Tensor) -> Tensor:
        return torch.tanh(self.to_picture[number](x).float())


class TreeGenerator(PictureGenerator):
    """A `Tree` in which every scale is shown the conditioning at every place.

    Args:
        resolution: Side of the finest pictures.
        scales: Number of scales; each has half the side of the next.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        noise_dim: Length of the noise.
        conditioning_dim: Length of the conditioning.
        width: Channels of the coarsest picture's features; each finer scale has half as many.
        blocks: Residual blocks a scale.

    Raises:
        ValueError: The side cannot be halved so often.
    """

    takes_fine = True

    def __init__(
        self,
        *,
        resolution: int = 64,
        scales: int = 3,
        channels: int = 3,
        condition_dim: int = 384,
        noise_dim: int = 100,
        conditioning_dim: int = 128,
        width: int = 64,
        blocks: int = 2,
    ) -> None:
        shape: dict[str, Any] = {
            "resolution": resolution,
            "scales": scales,
            "channels": channels,
            "noise_dim": noise_dim,
            "conditioning_dim": conditioning_dim,
            "width": width,
            "blocks": blocks,
        }
        tree = Tree(sentence_dim=condition_dim, **shape)
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=tree.sides,
            conditioning_dim=conditioning_dim,
            config={**shape, "condition_dim": condition_dim},
        )
        self.tree = tree

    def mean(self, embedding: Tensor) -> Tensor:
        """Return μ ``(n, conditioning_dim)`` of captions: what stands for them in the critics."""
        return self.tree.mean(embedding)

    def forward(
        self,
        embedding: Tensor,
        noise: Tensor,
        conditioning_noise: Tensor | None = None,
        *,
        fine: Tensor | None = None,
        fine_from: int = 1,
    ) -> Drawn:
        """Draw a picture a row and scale; without ``conditioning_noise`` from the mean.

        Args:
            embedding: ``(n, condition_dim)``.
            noise: ``(n, noise_dim)``.
            conditioning_noise: ``(n, conditioning_dim)``.
            fine: ``(n, condition_dim)`` that later scales are shown; None for ``embedding``.
            fine_from: Number of the first scale that is shown ``fine``, from 1.
        """
        drawn: Drawn = self.tree(
            embedding, noise, conditioning_noise, fine=fine, fine_from=fine_from
        )
        return drawn

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map captions and noise to the finest pictures ``(n, channels, r, r)`` in [-1, 1]."""
        return self.forward(embedding, noise).pictures[-1]
