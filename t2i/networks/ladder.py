"""Residual networks whose channels double as the side halves, with attention (SAGAN, BigGAN)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.attention import SelfAttention2d
from t2i.networks.base import Critic, Joining, PictureGenerator, normalize_spectrally
from t2i.networks.dcgan import first_side
from t2i.networks.residual import CriticBlock, UpBlock, convolution


def ladder_widths(resolution: int, width: int) -> list[int]:
    """Return the channels at each side, coarse to fine: at most 16 times ``width``, then halving.

    128 pixels: 16, 16, 8, 4, 2 and 1 times (BigGAN, 1809.11096, table 4).
    """
    doublings = round(math.log2(resolution / first_side(resolution)))
    rungs = [min(16, 2**k) for k in range(doublings)][::-1]
    return [width * rungs[0], *(width * rung for rung in rungs)]


def init_orthogonal(network: nn.Module) -> None:
    """Draw every convolution and linear layer orthogonal (Saxe et al., 2014, 1312.6120)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)


class LadderGenerator(PictureGenerator):
    """Residual blocks that double the side and halve the channels; BatchNorm follows the label.

    With ``shared_dim`` and ``hierarchical`` it is BigGAN's (1809.11096, section 3.1 and appendix
    B): all norms share one embedding of the label, and the noise is split, a part to each block
    beside the embedding. Without them SAGAN's: norms follow the label alone.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the label's embedding.
        noise_dim: Length of the noise.
        width: Channels of the last block.
        attention: Side of the features that attend to themselves; 0 for none.
        shared_dim: Length of the embedding that all norms share; 0 gives them the label itself.
        hierarchical: Give every block a part of the noise.
        spectral: Normalise weights spectrally.
        orthogonal: Draw the first weights orthogonal.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 0,
        noise_dim: int = 128,
        width: int = 64,
        attention: int = 0,
        shared_dim: int = 0,
        hierarchical: bool = False,
        spectral: bool = False,
        orthogonal: bool = False,
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
                "attention": attention,
                "shared_dim": shared_dim,
                "hierarchical": hierarchical,
                "spectral": spectral,
                "orthogonal": orthogonal,
            },
        )
        side, widths = first_side(resolution), ladder_widths(resolution, width)
        _check_attention(attention, side, resolution)
        self.share = nn.Linear(condition_dim, shared_dim, bias=False) if shared_dim else None
        self.parts = _parts(noise_dim, len(widths)) if hierarchical else [noise_dim]
        told = shared_dim or condition_dim
        self.start = nn.Linear(self.parts[0], widths[0] * side * side)
        nn.init.xavier_uniform_(self.start.weight)
        self.start_shape = (widths[0], side, side)
        self.blocks, self.attend = nn.ModuleList(), nn.ModuleDict()
        for number, (inward, outward) in enumerate(pairwise(widths)):
            if side == attention:
                self.attend[str(number)] = SelfAttention2d(inward)
            block_told = told + (self.parts[number + 1] if hierarchical else 0)
            self.blocks.append(UpBlock(inward, outward, block_told))
            side *= 2
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = convolution(widths[-1], channels, gain=1.0)
        if orthogonal:
            init_orthogonal(self)
        if spectral:
            normalize_spectrally(self)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map embedding and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        told = embedding if self.share is None else self.share(embedding)
        first, *rest = torch.split(noise, self.parts, dim=1)
        x = self.start(first).unflatten(1, self.start_shape)
        for number, block in enumerate(self.blocks):
            if str(number) in self.attend:
                x = self.attend[str(number)](x)
            x = block(x, torch.cat([told, rest[number]], dim=1) if rest else told)
        drawn: Tensor = self.last(F.relu(self.norm(x))).tanh()
        return drawn


class LadderCritic(Critic):
    """Residual blocks that halve the side and double the channels, one that keeps it, a sum.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        joining: How the condition enters.
        outputs: Outputs of a second head; 0 has none.
        width: Channels of the first block.
        attention: Side of the features that attend to themselves; 0 for none.
        orthogonal: Draw the first weights orthogonal.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 0,
        joining: Joining = "projection",
        outputs: int = 0,
        width: int = 64,
        attention: int = 0,
        orthogonal: bool = False,
    ) -> None:
        widths = ladder_widths(resolution, width)[::-1]
        super().__init__(
            feature_dim=widths[-1],
            condition_dim=condition_dim,
            joining=joining,
            outputs=outputs,
        )
        side = resolution
        _check_attention(attention, first_side(resolution), resolution)
        inwards = [channels + self.planes(condition_dim, joining), *widths]
        layers: list[nn.Module] = []
        for inward, outward in pairwise(inwards[:-1]):
            layers.append(CriticBlock(inward, outward, halve=True, first=not layers))
            side //= 2
            layers += [SelfAttention2d(outward)] if side == attention else []
        layers.append(CriticBlock(widths[-2], widths[-1], halve=False))
        self.blocks = nn.Sequential(*layers)
        if orthogonal:
            init_orthogonal(self)
        normalize_spectrally(self)

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, channels, r, r)`` to ``(n, features)``."""
        return F.relu(self.blocks(pictures)).sum(dim=(2, 3))


def _parts(noise_dim: int, count: int) -> list[int]:
    """Split the noise as evenly as it goes.

    Raises:
        ValueError: There are fewer numbers than parts.
    """
    if noise_dim < count:
        raise ValueError(
            f"noise_dim: {noise_dim} cannot be split into {count} parts, one a block and one for "
            f"the start; give {count} or more"
        )
    return [noise_dim // count + (k < noise_dim % count) for k in range(count)]


def _check_attention(attention: int, first: int, resolution: int) -> None:
    sides: Sequence[int] = [first * 2**k for k in range(round(math.log2(resolution / first)))]
    if attention and attention not in sides:
        raise ValueError(
            f"attention: no features have the side {attention}; give one of "
            f"{', '.join(map(str, sides))}, or 0 for none"
        )
