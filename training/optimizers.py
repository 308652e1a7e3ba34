"""How a player learns: descriptions of optimisers, and schedules of their learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

# From kimg to a factor of the learning rate.
Schedule = Callable[[float], float]


class Optimizer(Protocol):
    """Describes an optimiser.

    Attributes:
        learning_rate: Step size before the schedule.
        schedule: From kimg to what multiplies it; None leaves it as it is.
    """

    @property
    def learning_rate(self) -> float:
        """Step size before the schedule."""

    @property
    def schedule(self) -> Schedule | None:
        """From kimg to what multiplies the step size."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of these parameters."""


@dataclass(frozen=True)
class Adam:
    """Adam for one player. ``betas`` and ``learning_rate`` as in the papers.

    Attributes:
        learning_rate: Step size.
        betas: Decay of the first and second moment.
        schedule: From kimg to what multiplies the learning rate.
    """

    learning_rate: float
    betas: tuple[float, float] = (0.0, 0.99)
    schedule: Schedule | None = None

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of these parameters."""
        return torch.optim.Adam(parameters, lr=self.learning_rate, betas=self.betas)


@dataclass(frozen=True)
class RMSProp:
    """RMSProp, as WGAN asks for where momentum harms.

    Attributes:
        learning_rate: Step size.
        decay: Of the mean of squared gradients.
        schedule: From kimg to what multiplies the learning rate.
    """

    learning_rate: float
    decay: float = 0.99
    schedule: Schedule | None = None

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of these parameters."""
        return torch.optim.RMSprop(parameters, lr=self.learning_rate, alpha=self.decay)


@dataclass(frozen=True)
class SGD:
    """Gradient descent.

    Attributes:
        learning_rate: Step size.
        momentum: Share of the last step that is taken again.
        schedule: From kimg to what multiplies the learning rate.
    """

    learning_rate: float
    momentum: float = 0.0
    schedule: Schedule | None = None

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of these parameters."""
        return torch.optim.SGD(parameters, lr=self.learning_rate, momentum=self.momentum)


def linear_decay(start: float, end: float, to: float = 0.0) -> Schedule:
    """Return the schedule that stays at 1 up to ``start`` kimg and falls to ``to`` at ``end``."""

    def factor(kimg: float) -> float:
        done = min(1.0, max(0.0, (kimg - start) / max(end - start, 1e-9)))
        return 1.0 + done * (to - 1.0)

    return factor


def halved(every: float) -> Schedule:
    """Return the schedule that halves the rate every so many kimg, in steps."""
    return lambda kimg: 0.5 ** (kimg // every)
