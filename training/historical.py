"""Historical averaging: a player pays for being far from where it has been on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.recipe import Update
from training.regularizers import Play, Regularizer


class History(nn.Module):
    """Mean of the values that a network's weights have had, ``1/t Σ θ[i]``.

    Salimans et al., 2016, 1606.03498, section 3.3. It can be moved online, so that nothing but the
    mean is kept.

    Args:
        network: Whose weights of this moment are the first.
    """

    count: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.register_buffer("count", torch.ones(()))
        for number, weight in enumerate(network.parameters()):
            self.register_buffer(f"mean_{number}", weight.detach().clone())

    def distance(self, network: nn.Module) -> Tensor:
        """Return ``‖θ - 1/t Σ θ[i]‖²``, a scalar."""
        terms = [
            (weight - self.get_buffer(f"mean_{number}")).square().sum()
            for number, weight in enumerate(network.parameters())
        ]
        return torch.stack(terms).sum()

    @torch.no_grad()
    def remember(self, network: nn.Module) -> None:
        """Take the weights of this moment into the mean."""
        self.count += 1
        for number, weight in enumerate(network.parameters()):
            self.get_buffer(f"mean_{number}").lerp_(weight, 1.0 / float(self.count))


@dataclass(frozen=True)
class HistoricalAverage(Regularizer):
    """``‖θ - 1/t Σ θ[i]‖²`` of the generator's weights. Salimans et al., section 3.3.

    Attributes:
        of: The network whose history it is.
    """

    of: nn.Module | None = None
    name: str = "generator_history"
    player: ClassVar[str] = "generator"

    def loss(self, play: Play) -> Tensor:
        """Return the squared distance, a scalar."""
        history = play.networks[self.name]
        assert isinstance(history, History)
        return history.distance(play.networks[self.player])

    def state(self) -> nn.Module:
        """Return the history, of one moment so far."""
        assert self.of is not None, "of: give the network whose history it is"
        return History(self.of)

    def after(self, state: nn.Module, update: Update) -> None:
        """Remember the weights after the step."""
        assert isinstance(state, History) and self.of is not None
        state.remember(self.of)


@dataclass(frozen=True)
class CriticsHistoricalAverage(HistoricalAverage):
    """`HistoricalAverage` of the critic's weights."""

    name: str = "discriminator_history"
    player: ClassVar[str] = "discriminator"
