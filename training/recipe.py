"""The vocabulary that papers are written in: recipe, phase, batch, losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Drawn, Scores
from training.ema import Ema
from training.errors import TrainingError
from training.optimizers import SGD, Adam, Optimizer, RMSProp

__all__ = [
    "SGD",
    "Adam",
    "Batch",
    "CaptionRows",
    "Drawn",
    "LabelledRows",
    "Losses",
    "Networks",
    "Optimizer",
    "Phase",
    "RMSProp",
    "Recipe",
    "RowNoise",
    "Scores",
    "Update",
]


class RowNoise:
    """Random numbers that are a pure function of seed, step and name.

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
        whole = torch.randn(self._total, dim, generator=self._generator(name))
        return whole[self._rows].to(self._device)

    def uniform(self, name: str, dim: int) -> Tensor:
        """Return ``(n, dim)`` float32 numbers from 0 up to, but without, 1."""
        whole = torch.rand(self._total, dim, generator=self._generator(name))
        return whole[self._rows].to(self._device)

    def integers(self, name: str, high: int) -> Tensor:
        """Return ``(n,)`` int64 numbers from 0 up to, but without, ``high``; all as likely."""
        whole = torch.randint(high, (self._total,), generator=self._generator(name))
        return whole[self._rows].to(self._device)

    def _generator(self, name: str) -> torch.Generator:
        words = [self._seed & 0x7FFFFFFF, self._step, *name.encode()]
        return torch.Generator().manual_seed(_mix(words))


def _mix(words: list[int]) -> int:
    """Fold numbers into one 63-bit seed (FNV-1a)."""
    value = 0xCBF29CE484222325
    for word in words:
        for byte in word.to_bytes(8, "little"):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value >> 1


class CaptionRows(NamedTuple):
    """Captions beside the pictures of a batch, as embeddings.

    Attributes:
        right: ``(n, d)`` embedding of a caption that is true of each picture.
        wrong: ``(n, d)`` embedding of a caption that is not.
        also_true: ``(n, n)`` booleans: caption j (of ``right``) is true of picture i.
    """

    right: Tensor
    wrong: Tensor
    also_true: Tensor


class LabelledRows(NamedTuple):
    """Pictures of the labelled part of the data, a stream of its own beside the whole.

    Attributes:
        pictures: ``(n, c, r, r)``, or other samples; as many as the batch has.
        labels: ``(n,)`` int64, none of them -1.
    """

    pictures: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Batch:
    """What one phase sees.

    Attributes:
        pictures: ``(n, c, r, r)`` real pictures in [-1, 1] at the finest resolution; of other data
            the samples themselves: ``(n, 2)`` points, ``(n, t)`` int64 tokens.
        noise: Random numbers for these rows.
        kimg: Thousands of real pictures shown before this step.
        step: Number of the batch: how many this player's data came before it.
        labels: ``(n,)`` int64, -1 where a picture has no label; None when the data has none.
        captions: The captions' embeddings; None when the data has none.
        labelled: Rows that all have a label; None when the data has none.
        sources: ``(n, s)`` int64 tokens that each sample is a translation of; None when it is none.
    """

    pictures: Tensor
    noise: RowNoise
    kimg: float
    step: int = 0
    labels: Tensor | None = None
    captions: CaptionRows | None = None
    labelled: LabelledRows | None = None
    sources: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.pictures)

    @property
    def right(self) -> Tensor:
        """``(n, d)`` embedding of a caption that is true of each picture."""
        return self._captions.right

    @property
    def wrong(self) -> Tensor:
        """``(n, d)`` embedding of a caption that is not true of each picture."""
        return self._captions.wrong

    @property
    def also_true(self) -> Tensor:
        """``(n, n)`` booleans: caption j (of ``right``) is true of picture i."""
        return self._captions.also_true

    @property
    def classes(self) -> Tensor:
        """``(n,)`` int64 labels, -1 where a picture has none.

        Raises:
            TrainingError: The data has no labels.
        """
        if self.labels is None:
            raise TrainingError("labels: the batch has none; train on data with labels")
        return self.labels

    @property
    def translated(self) -> Tensor:
        """``(n, s)`` int64 tokens of the sentence that each sample is a translation of.

        Raises:
            TrainingError: The data holds no translations.
        """
        if self.sources is None:
            raise TrainingError("sources: the batch has none; train on translations")
        return self.sources

    def one_hot(self, classes: int) -> Tensor:
        """Return ``(n, classes)`` float32: 1 at the row's label; zeros where it has none.

        Raises:
            TrainingError: The data has no labels.
        """
        return one_hot(self.classes, classes)

    @property
    def _captions(self) -> CaptionRows:
        if self.captions is None:
            raise TrainingError("captions: the batch has none; train on data with captions")
        return self.captions


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return ``(n, classes)`` float32: 1 at each label of ``(n,)``; a row of zeros for -1."""
    return F.one_hot(labels + 1, classes + 1)[:, 1:].float()


class Losses(NamedTuple):
    """What a phase minimises, and what of it is worth showing.

    Attributes:
        total: Scalar with gradient.
        parts: Detached scalars by name.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


Networks = Mapping[str, nn.Module]


class Update(NamedTuple):
    """An optimiser step that was just taken.

    Attributes:
        kimg: Thousands of real pictures shown before it.
        step: Number of the batch that it was taken on.
        parts: The phase's reported losses, means over the whole batch and all processes.
    """

    kimg: float
    step: int
    parts: Mapping[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One player's update.

    Attributes:
        player: Name of the network that learns, or names of those that learn together. All others
            are frozen meanwhile.
        optimizer: How it learns.
        loss: From the networks and a batch to losses. It may call any network as often as it
            likes, and differentiate twice; bfloat16 is on, where the run has it.
        steps: Updates a round, each on a batch of its own (``n_dis`` for a discriminator).
        after: Called without gradients after each update: clips weights, moves recipe state that
            is kept in the buffers of a network of its own.
        active: From kimg to whether the phase takes place; None for always. Stages that are
            trained in turn.
        name: Tells phases of the same player apart; its own name when empty.
    """

    player: str | tuple[str, ...]
    optimizer: Optimizer
    loss: Callable[[Networks, Batch], Losses]
    steps: int = 1
    after: Callable[[Networks, Update], None] | None = None
    active: Callable[[float], bool] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse a phase that would never run."""
        if not self.name:
            object.__setattr__(self, "name", "+".join(self.players))
        if self.steps < 1:
            raise TrainingError(f"phase {self.name}: steps is {self.steps}; give 1 or more")

    @property
    def players(self) -> tuple[str, ...]:
        """Names of the networks that learn."""
        return (self.player,) if isinstance(self.player, str) else self.player


@dataclass(frozen=True)
class Recipe:
    """A paper: networks and the phases in which they learn. `training.compose` makes most.

    Attributes:
        key: Its name on the command line; empty takes the name that it is registered under.
        networks: All networks by name; ``generator`` is the one that is served. State that must
            be kept with checkpoints lives in the buffers of a small module among them.
        phases: The players' updates in the order of a round.
        ema: Average of the generator's weights; None serves the weights as they are.
        batch_size: Pictures a step over all processes.
        fit: Called once before training with ``(n, d)`` embeddings of the training captions,
            for statistics that networks carry.
        watched: Names of discriminator losses that are near zero only when it has won.
        hard_wrong: Share of a batch's wrong captions that are almost true of their picture.
        joins_late: Some weights have no gradient in some steps (stages that join late, heads that
            only one phase uses). Where it is False, several processes save a walk of the graph.
        differentiates_twice: A loss holds the gradient of a gradient; float16 would overflow.
        examples: ``(rows, condition_dim)`` embeddings to draw on the way, a row each; None takes
            one a class, or seeds alone.
        given: Names of networks that no phase changes and that come with the recipe each time, such
            as a frozen judge; checkpoints leave them out.
        asked_with: Entries of a bundle's ``config.json`` that say what it is asked with, such as
            ``{"conditions": ["code"], "code": [...]}``; None takes labels where the generator has
            a condition, else a seed alone.
    """

    key: str
    networks: Mapping[str, nn.Module]
    phases: tuple[Phase, ...]
    batch_size: int
    ema: Ema | None = field(default_factory=Ema)
    fit: Callable[[Tensor], None] | None = None
    watched: tuple[str, ...] = ()
    hard_wrong: float = 0.0
    joins_late: bool = True
    differentiates_twice: bool = False
    examples: Tensor | None = None
    given: tuple[str, ...] = ()
    asked_with: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together, in words."""
        who = f"recipe {self.key}" if self.key else "recipe"
        if "generator" not in self.networks:
            raise TrainingError(f"{who}: has no network named generator")
        for name in self.networks:
            if name == "average" or "." in name or "/" in name:
                raise TrainingError(f"{who}: network {name!r} cannot be called that; rename it")
        for player in (player for phase in self.phases for player in phase.players):
            if player not in self.networks:
                names = ", ".join(self.networks)
                raise TrainingError(f"{who}: phase {player!r} trains no network; there are {names}")
        for name in self.given:
            if name not in self.networks or any(name in phase.players for phase in self.phases):
                raise TrainingError(
                    f"{who}: given names {name!r}, which must be a network that no phase trains"
                )
        called = [phase.name for phase in self.phases]
        for name in called:
            if called.count(name) > 1:
                raise TrainingError(
                    f"{who}: {called.count(name)} phases are called {name!r}; give each a name"
                )
        if not any("generator" in phase.players for phase in self.phases):
            raise TrainingError(f"{who}: no phase trains the generator")
        if self.batch_size < 1:
            raise TrainingError(f"{who}: batch_size is {self.batch_size}; give 1 or more")
