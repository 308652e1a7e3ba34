"""Exponential moving average of weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Ema:
    """How a network's weights are averaged.

    Attributes:
        half_life: In kimg.
        rampup: The half-life is at most this share of the kimg shown so far, so that a short run
            does not drag its beginning along. StyleGAN2-ADA, 2006.06676.
    """

    half_life: float = 10.0
    rampup: float = 0.05

    def decay(self, kimg: float, batch_size: int) -> float:
        """Weight of the old average in one update after ``batch_size`` pictures."""
        half_life = min(self.half_life, self.rampup * kimg)
        return float(0.5 ** (batch_size / 1000.0 / max(half_life, 1e-8)))


@torch.no_grad()
def update(average: nn.Module, live: nn.Module, decay: float) -> None:
    """Move the average's parameters towards the live ones; copy buffers as they are."""
    for moved, target in zip(average.parameters(), live.parameters(), strict=True):
        moved.lerp_(target, 1.0 - decay)
    for mean, value in zip(average.buffers(), live.buffers(), strict=True):
        mean.copy_(value)
