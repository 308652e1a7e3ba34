"""The vocabulary that papers are written in: recipe, phase, batch, losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.ema import Ema
from training.errors import TrainingError


class RowNoise:
    """Standard normal noise that is a pure function of seed, step and name.

    The noise of the whole batch is drawn and each process takes its rows, so that a resumed run
    and a run on any number of processes see the same noise.

    Args:
        seed: Seed of the run.
        step: Number of the step, 0 or more.
        total: Rows of the whole batch, over all processes.
        rows: The rows of this process (or of this micro-batch).
        device: Where the noise is wanted.
    """

    def __init__(self, seed: int, step: int, total: int, rows: slice, device: torch.device) -> None:
        self._seed = seed
        self._step = step
        self._total = total
        self._rows = rows
        self._device = device

    def normal(self, name: str, dim: int) -> Tensor:
        """Return ``(n, dim)`` float32 noise; different names give independent noise."""
        words = [self._seed & 0x7FFFFFFF, self._step, *name.encode()]
        generator = torch.Generator().manual_seed(_mix(words))
        whole = torch.randn(self._total, dim, generator=generator)
        return whole[self._rows].to(self._device)


def _mix(words: list[int]) -> int:
    """Fold numbers into one 63-bit seed (FNV-1a)."""
    value = 0xCBF29CE484222325
    for word in words:
        for byte in word.to_bytes(8, "little"):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value >> 1


@dataclass(frozen=True)
class Batch:
    """What one phase sees.

    Attributes:
        pictures: ``(n, 3, r, r)`` real pictures in [-1, 1] at the finest resolution.
        right: ``(n, d)`` embedding of a caption that is true of each picture.
        wrong: ``(n, d)`` embedding of a caption that is not.
        also_true: ``(n, n)`` booleans: caption j (of ``right``) is true of picture i.
        noise: Noise for these rows.
        kimg: Thousands of real pictures shown before this step.
    """

    pictures: Tensor
    right: Tensor
    wrong: Tensor
    also_true: Tensor
    noise: RowNoise
    kimg: float


class Losses(NamedTuple):
    """What a phase minimises, and what of it is worth showing.

    Attributes:
        total: Scalar with gradient.
        parts: Detached scalars by name.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


Networks = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Adam:
    """Adam for one player. ``betas`` and ``learning_rate`` as in the papers.

    Attributes:
        learning_rate: Step size.
        betas: Decay of the first and second moment.
    """

    learning_rate: float
    betas: tuple[float, float] = (0.0, 0.99)

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """Make the optimiser of a network's parameters."""
        return torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=self.betas)


@dataclass(frozen=True)
class Phase:
    """One player's update.

    Attributes:
        player: Name of the network that learns. All others are frozen meanwhile.
        optimizer: How it learns.
        loss: From the networks and a batch to losses. The player's network must be called exactly
            once (a data-parallel wrapper allows one forward before the backward).
        steps: Updates a round, each on a batch of its own (``n_dis`` for a discriminator).
    """

    player: str
    optimizer: Adam
    loss: Callable[[Networks, Batch], Losses]
    steps: int = 1

    def __post_init__(self) -> None:
        """Refuse a phase that would never run."""
        if self.steps < 1:
            raise TrainingError(f"phase {self.player}: steps is {self.steps}; give 1 or more")


@dataclass(frozen=True)
class Recipe:
    """A paper, composed.

    Attributes:
        key: Its name on the command line.
        networks: All players' networks by name; ``generator`` is the one that is served.
        phases: The players' updates in the order of a round.
        ema: Average of the generator's weights.
        batch_size: Pictures a step over all processes.
        fit: Called once before training with ``(n, d)`` embeddings of the training captions,
            for statistics that networks carry.
        watched: Names of discriminator losses that are near zero only when it has won.
        hard_wrong: Share of a batch's wrong captions that are almost true of their picture.
    """

    key: str
    networks: Mapping[str, nn.Module]
    phases: tuple[Phase, ...]
    batch_size: int
    ema: Ema = field(default_factory=Ema)
    fit: Callable[[Tensor], None] | None = None
    watched: tuple[str, ...] = ()
    hard_wrong: float = 0.0

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together, in words."""
        if "generator" not in self.networks:
            raise TrainingError(f"recipe {self.key}: has no network named generator")
        players = [phase.player for phase in self.phases]
        for player in players:
            if player not in self.networks:
                names = ", ".join(self.networks)
                raise TrainingError(
                    f"recipe {self.key}: phase {player!r} trains no network; there are {names}"
                )
        if players[-1:] != ["generator"]:
            raise TrainingError(f"recipe {self.key}: a round must end with the generator's phase")
