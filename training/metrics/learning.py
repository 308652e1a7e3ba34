"""How judges learn: AdamW under one cycle of learning rates, and weights averaged at its end."""

from __future__ import annotations

import copy
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from training.metrics.errors import MetricsError

__all__ = ["Average", "Knobs", "Learning"]

N = TypeVar("N", bound=nn.Module)

# An average reaches back over so many steps, about a twentieth of a usual run: long enough to
# smooth, short enough to forget the beginning.
_REACH = 20


class Knobs(Protocol):
    """What a judge's training is set by."""

    @property
    def steps(self) -> int:
        """Batches shown."""

    @property
    def learning_rate(self) -> float:
        """The peak of the cycle."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""


class Learning:
    """Steps of AdamW under one cycle of learning rates (Smith & Topin, 2017, 1708.07120).

    Args:
        network: what learns.
        knobs: how long, and how fast.
        rise: share of the steps before the peak.
    """

    def __init__(self, network: nn.Module, knobs: Knobs, *, rise: float = 0.2) -> None:
        self._learning_rate = knobs.learning_rate
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=knobs.learning_rate, weight_decay=knobs.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, knobs.learning_rate, total_steps=knobs.steps, pct_start=rise
        )
        self._taken = 0

    def step(self, loss: Tensor) -> None:
        """Take one step down a loss, a scalar.

        Raises:
            MetricsError: it is not a number any more.
        """
        if not torch.isfinite(loss):
            raise MetricsError(
                "learning_rate",
                self._learning_rate,
                f"lost the numbers at step {self._taken}",
                "lower it",
            )
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()
        self._schedule.step()
        self._taken += 1


class Average(Generic[N]):
    """The mean of a network's weights and statistics over the last steps of a run.

    Args:
        network: as it is before the first step.
        steps: of the run.

    Attributes:
        network: the mean so far, a network of its own.
    """

    def __init__(self, network: N, steps: int) -> None:
        self.network = copy.deepcopy(network)
        self._decay = max(0.5, 1 - _REACH / steps)

    @torch.no_grad()
    def follow(self, network: N) -> None:
        """Take a step of the network into the mean; counters are copied as they are."""
        new = network.state_dict()
        for name, kept in self.network.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(new[name], 1 - self._decay)
            else:
                kept.copy_(new[name])
