"""Ranks between stages of a run: real samples lead what the stage before draws."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.recipe import Networks, Update
from training.regularizers import Play, Regularizer


class Earlier(nn.ModuleDict):
    """The players of the stage before, frozen, and how many stages have passed."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__(copy.deepcopy({"generator": generator, "discriminator": discriminator}))
        self.stage: Tensor
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))

    def follow(self, networks: Networks) -> None:
        """Begin a stage: take over what the players have become."""
        for name, player in self.items():
            player.load_state_dict(networks[name].state_dict())
        self.stage += 1


@dataclass(frozen=True)
class Rank(Regularizer):
    """Real samples must lead the earlier stage's fakes by two margins; 0 in the first stage.

    Juefei-Xu et al., 2017, 1704.04865.

    Attributes:
        margin: ε.
        players: Generator and critic of the run.
    """

    margin: float = 1.0
    players: tuple[nn.Module, ...] = ()
    name: str = "rank"

    def loss(self, play: Play) -> Tensor:
        """Return E max(0, D_{i-1}(G_{i-1}(z)) + 2ε - D_i(x)), a scalar."""
        earlier = cast(Earlier, play.networks[self.name])
        if not earlier.stage:
            return play.real_scores.logits.new_zeros(())
        with torch.no_grad():
            drawn = earlier["generator"](play.condition, play.noise).pictures[-1]
            fake = earlier["discriminator"](drawn).logits
        return F.relu(fake + 2.0 * self.margin - play.real_scores.logits).mean()

    def state(self) -> nn.Module:
        """Return the players of the stage before."""
        return Earlier(*self.players)


def follow_stages(stages: int, stage_kimg: float) -> Callable[[Networks, Update], None]:
    """Return the hook that begins each stage at its time.

    Args:
        stages: Number of stages; the last has no end.
        stage_kimg: Length of each in kimg.
    """

    def follow(networks: Networks, update: Update) -> None:
        earlier = cast(Earlier, networks["rank"])
        if min(stages - 1, int(update.kimg / stage_kimg)) > int(earlier.stage):
            earlier.follow(networks)

    return follow
