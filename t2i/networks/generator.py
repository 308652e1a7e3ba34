"""The multi-stage generator: one trunk that emits a picture at every stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.blocks import LEAK, ConditioningAugmentation, Standardize, StyledConvolution
from t2i.networks.deep_fusion import UpBlock

SEED_RESOLUTION = 4
# A level is gated by the one of so many times less side.
EXCITED_BY = 8


class StageOutput(NamedTuple):
    """What a multi-stage generator returns.

    Attributes:
        pictures: One ``(n, 3, r, r)`` tensor in [-1, 1] a stage, coarse to fine.
        mu: ``(n, conditioning_dim)`` mean of the conditioning.
        log_sigma: ``(n, conditioning_dim)`` logarithm of its standard deviation.
    """

    pictures: tuple[Tensor, ...]
    mu: Tensor
    log_sigma: Tensor


class Level(nn.ModuleList):
    """One level of the trunk: styled convolutions, the first of which doubles the resolution.

    Args:
        first: Doubles height and width.
        second: Refines.
    """

    def __init__(self, first: StyledConvolution, second: StyledConvolution) -> None:
        super().__init__([first, second])

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` to ``(n, channels', 2h, 2w)``."""
        for convolution in self:
            x = convolution(x, style)
        return x


class Excitation(nn.Module):
    """Gates fine channels by coarse features. FastGAN, Liu et al., 2021, 2101.04775, eq. 2.

    Args:
        coarse: Channels of the coarse features.
        fine: Channels of the fine ones.
    """

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(SEED_RESOLUTION),
            nn.Conv2d(coarse, fine, SEED_RESOLUTION),
            nn.LeakyReLU(0.1),
            nn.Conv2d(fine, fine, 1),
            nn.Sigmoid(),
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Map ``(n, coarse, h, w)`` and ``(n, fine, h', w')`` to the shape of the latter."""
        gated: Tensor = fine * self.gate(coarse)
        return gated


class StageGenerator(nn.Module):
    """StackGAN-style generator: conditioning augmentation, one trunk, a picture at every stage.

    The stages and their shared trunk are those of StackGAN-v2 (1710.10916); the convolutions are
    modulated as in StyleGAN2 (1912.04958) by noise and conditioning; each stage adds to the
    enlarged picture of the one before.

    Args:
        condition_dim: Length of the encoder's embedding.
        resolutions: Side of each stage's picture in pixels, ascending powers of two from 8 on.
        noise_dim: Length of the noise vector.
        conditioning_dim: Length of the conditioning vector drawn around the caption.
        width: Channels at the last stage; they double at every halving of the resolution.
        max_channels: Upper bound of the channels.
        deep_fusion: Fuse the caption by DF-GAN's blocks (2008.05865) instead of modulation.
        excitation: Let each level from 32 pixels on be gated by the one an eighth as large.
    """

    # Its stages could follow two captions, but the first decides all that a caption names: what the
    # later ones are told changes nothing that can be read off the pictures (benchmarks/control.py).
    takes_fine = False

    def __init__(
        self,
        *,
        condition_dim: int = 384,
        resolutions: Sequence[int] = (16, 32, 64),
        noise_dim: int = 100,
        conditioning_dim: int = 128,
        width: int = 32,
        max_channels: int = 256,
        deep_fusion: bool = False,
        excitation: bool = False,
    ) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.resolutions = tuple(int(r) for r in resolutions)
        self.noise_dim = noise_dim
        self.conditioning_dim = conditioning_dim
        self.config: dict[str, object] = {
            "condition_dim": condition_dim,
            "resolutions": list(self.resolutions),
            "noise_dim": noise_dim,
            "conditioning_dim": conditioning_dim,
            "width": width,
            "max_channels": max_channels,
            "deep_fusion": deep_fusion,
            "excitation": excitation,
        }
        final = self.resolutions[-1]
        for r in self.resolutions:
            if r < 2 * SEED_RESOLUTION or r & (r - 1):
                raise ValueError(f"resolutions: {r} is not a power of two from 8 on")
        if list(self.resolutions) != sorted(set(self.resolutions)):
            raise ValueError(f"resolutions: {self.resolutions} are not ascending")

        def channels(resolution: int) -> int:
            return min(max_channels, width * final // resolution)

        style_dim = 256
        self.standardize = Standardize(condition_dim)
        self.augment = ConditioningAugmentation(condition_dim, conditioning_dim, 256)
        self.mix = nn.Linear(noise_dim + conditioning_dim, style_dim)
        self.style = nn.Linear(style_dim, style_dim)
        style_input = style_dim + conditioning_dim
        first = channels(SEED_RESOLUTION)
        self.seed = nn.Linear(style_input, first * SEED_RESOLUTION**2)
        self.levels = nn.ModuleList()
        self.to_rgb = nn.ModuleDict()
        self.excitations = nn.ModuleDict()
        resolution, previous = SEED_RESOLUTION, first
        while resolution < final:
            resolution *= 2
            here = channels(resolution)
            self.levels.append(
                UpBlock(previous, here, style_input)
                if deep_fusion
                else Level(
                    StyledConvolution(previous, here, style_input, upsample=True),
                    StyledConvolution(here, here, style_input),
                )
            )
            if excitation and resolution >= EXCITED_BY * SEED_RESOLUTION:
                coarse = channels(resolution // EXCITED_BY)
                self.excitations[str(resolution)] = Excitation(coarse, here)
            if resolution in self.resolutions:
                head = nn.Conv2d(here, 3, 3, padding=1)
                nn.init.normal_(head.weight, std=0.3 / math.sqrt(here * 9))
                assert head.bias is not None
                nn.init.zeros_(head.bias)
                # Fused features are not activated yet.
                self.to_rgb[str(resolution)] = (
                    nn.Sequential(nn.LeakyReLU(LEAK), head) if deep_fusion else head
                )
            previous = here

    def forward(
        self,
        embedding: Tensor,
        noise: Tensor,
        conditioning_noise: Tensor | None = None,
        stages: int | None = None,
        *,
        fine: Tensor | None = None,
        fine_from: int = 1,
    ) -> StageOutput:
        """Draw pictures.

        Args:
            embedding: ``(n, condition_dim)``, as the encoder returns it.
            noise: ``(n, noise_dim)``, standard normal.
            conditioning_noise: ``(n, conditioning_dim)``, standard normal; None for the mean.
            stages: Run only the first so many stages; None for all.
            fine: ``(n, condition_dim)`` that later stages follow; None for ``embedding``.
            fine_from: Number of the first stage that follows ``fine``, from 1.
        """
        style, mu, log_sigma = self._style(embedding, noise, conditioning_noise)
        later = style if fine is None else self._style(fine, noise, conditioning_noise)[0]
        # Levels beyond this side belong to the stages that follow the fine condition.
        coarse_side = self.resolutions[fine_from - 1]
        x = self.seed(style).view(len(style), -1, SEED_RESOLUTION, SEED_RESOLUTION)
        x = x.contiguous(memory_format=torch.channels_last)
        wanted = self.resolutions[: len(self.resolutions) if stages is None else stages]
        pictures: list[Tensor] = []
        canvas: Tensor | None = None
        passed = {SEED_RESOLUTION: x}
        for level in self.levels:
            x = level(x, style if 2 * x.shape[-1] <= coarse_side else later)
            side = x.shape[-1]
            if str(side) in self.excitations:
                x = self.excitations[str(side)](passed[side // EXCITED_BY], x)
            if side * EXCITED_BY <= self.resolutions[-1]:
                passed[side] = x
            if side in wanted:
                added = self.to_rgb[str(side)](x)
                if canvas is not None:
                    larger = F.interpolate(
                        canvas, size=(side, side), mode="bilinear", align_corners=False
                    )
                    added = added + larger
                canvas = added
                pictures.append(torch.tanh(canvas.float()))
            if side == wanted[-1]:
                break
        return StageOutput(tuple(pictures), mu, log_sigma)

    def _style(
        self, embedding: Tensor, noise: Tensor, conditioning_noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the levels are modulated by, and mean and log σ of the conditioning."""
        conditioning, mu, log_sigma = self.augment(self.standardize(embedding), conditioning_noise)
        # Unit size, like the noise: otherwise the caption outgrows the noise, and all seeds agree.
        size = conditioning.square().mean(dim=1, keepdim=True)
        conditioning = conditioning * torch.rsqrt(size + 1e-6)
        mixed = F.leaky_relu(self.mix(torch.cat([noise, conditioning], dim=1)), LEAK)
        mixed = F.leaky_relu(self.style(mixed), LEAK)
        style = torch.cat([mixed, conditioning.to(mixed.dtype)], dim=1)
        return style, mu, log_sigma
