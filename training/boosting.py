"""Boosting: the stages of a growing mixture, and which samples of the data it misses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def missed(logits: Tensor, beta: float) -> Tensor:
    """Return ``(n,)`` weights of mean 1, high where the mixture so far has too few samples.

    Tolstikhin et al., 2017, 1701.02386, algorithm 3: ``w_i = (λ - (1 - β) h(d_i))₊ / (n β)`` with
    h(d) = (1 - d) / d, and λ such that the weights sum to 1; here times n.

    Args:
        logits: ``(n,)`` of the discriminator d between data and mixture, at samples of the data.
        beta: Weight of the next component.
    """
    h = torch.exp(-logits.clamp_min(-30.0))
    ordered = h.sort().values
    count = torch.arange(1, len(h) + 1, device=h.device)
    levels = (beta * len(h) + (1.0 - beta) * ordered.cumsum(0)) / count
    # Those that get weight come first, and are as many as stay under their own level.
    level = levels[(levels > (1.0 - beta) * ordered).nonzero().max()]
    return F.relu(level - (1.0 - beta) * h) / beta


@dataclass(frozen=True)
class Stages:
    """When each component of a mixture is trained, in kimg; the last stage has no end.

    Attributes:
        count: Number of stages, one a component.
        length: Length of a stage in kimg.
        weighing: Share of each stage after the first in which the data is weighed first.
    """

    count: int
    length: float
    weighing: float

    def at(self, kimg: float) -> int:
        """Return the number of the stage, from 0."""
        return min(int(kimg / self.length), self.count - 1)

    def weighs(self, kimg: float) -> bool:
        """Return whether the data is weighed now, and the newest component waits."""
        stage = self.at(kimg)
        return stage > 0 and kimg / self.length - stage < self.weighing

    def learns(self, kimg: float) -> bool:
        """Return whether the newest component learns now."""
        return not self.weighs(kimg)
