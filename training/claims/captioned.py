"""What claims on captions share: illustrated birds, a judge of them, and what training costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from t2i.conditions import Text
from t2i.pipeline import Pipeline
from training.claims.claim import Trained, Trial
from training.claims.fidelity import Fidelity, fidelity_of
from training.claims.trial import draw
from training.data.birds import BirdData, BirdTruth, Split
from training.metrics.attributes import AttributeClassifier, accuracy
from training.metrics.birds_judge import SHIPPED
from training.metrics.features import as_bytes
from training.metrics.latent import write_rows
from training.recipe import Batch, CaptionRows, Recipe, RowNoise

Pictures = NDArray[np.uint8]
BIRDS, HELD_OUT = "birds:12000", "birds:2000"
CHOICES = 100


@dataclass(frozen=True)
class Birds:
    """Illustrated birds to learn from, others to compare with, and readers of both.

    Attributes:
        data: To learn from.
        held_out: Other birds; the first `Fidelity.count` are compared with.
        judge: Compares pictures with them.
        classifier: Reads attributes off pictures; it learned from neither.
        asked: Flat numbers of one caption of each bird that is compared with.
    """

    data: BirdData
    held_out: BirdData
    judge: Fidelity
    classifier: AttributeClassifier
    asked: NDArray[np.int64]

    @property
    def captions(self) -> list[str]:
        """The captions that are asked for."""
        return [self.held_out.flat_captions[number] for number in self.asked]

    def agreement_percent(self, pictures: Pictures) -> float:
        """Return how much of what the captions state is read off pictures drawn for them."""
        return (
            100.0
            * accuracy(self.classifier.predict(pictures), self.held_out.claims[self.asked]).mean
        )

    def r_precision_percent(self, pictures: Pictures, seed: int = 0) -> float:
        """Return how often a picture shows its own caption better than 99 others do.

        What is read off the picture is compared with what each caption states; of captions that
        fit equally well each is picked as often.
        """
        truth = BirdTruth(self.classifier.predict(pictures), self.held_out.claims[self.asked])
        n = len(pictures)
        fit = truth.agreement(np.arange(n), np.arange(n))
        rng, hits = np.random.default_rng(seed), 0.0
        others = min(CHOICES, n) - 1
        for row in range(n):
            among = rng.choice(np.delete(np.arange(n), row), others, replace=False)
            better = int((fit[row, among] > fit[row, row]).sum())
            equal = int((fit[row, among] == fit[row, row]).sum())
            hits += 0.0 if better else 1.0 / (1 + equal)
        return 100.0 * hits / n


def birds_of(trial: Trial, split: Split = "val") -> Birds:
    """Draw birds to learn from, and others of a split to ask for and compare with."""
    data, held_out = trial.data(BIRDS), trial.data(HELD_OUT, split=split)
    judge = fidelity_of(trial, data, held_out)
    rng = np.random.default_rng(trial.seed)
    starts = held_out.caption_starts
    counts = np.diff(starts)[: judge.count]
    asked = starts[: judge.count] + rng.integers(0, counts)
    return Birds(data, held_out, judge, AttributeClassifier.load(SHIPPED), asked)


def embedded(trained: Trained, captions: Sequence[str]) -> Tensor:
    """Return the embeddings ``(n, d)`` of captions, as the run's bundle reads them."""
    assert trained.bundle is not None
    return Pipeline.from_pretrained(trained.bundle, "cpu").encode([Text(text) for text in captions])


def drawn_for(
    trained: Trained, captions: Sequence[str], *, seed: int = 1, stage: int = -1
) -> Pictures:
    """Draw one picture a caption: ``(n, r, r, 3)`` uint8; a stage counts from the coarsest, 0."""
    return drawn_from(trained, embedded(trained, captions), seed=seed, stage=stage)


def drawn_from(trained: Trained, embeddings: Tensor, *, seed: int = 1, stage: int = -1) -> Pictures:
    """Draw one picture an embedding: ``(n, r, r, 3)`` uint8."""
    drawn = draw(
        trained.average, len(embeddings), seed=seed, embedding=embeddings, batch=50, stage=stage
    )
    return as_bytes(drawn)


def figures_of(birds: Birds, pictures: Pictures, of: str = "") -> dict[str, float]:
    """Return distance, agreement and R-precision of pictures drawn for the captions.

    Args:
        birds: Whose captions were asked for.
        pictures: ``(n, r, r, 3)`` uint8, one a caption.
        of: What stands behind the figures' names.
    """
    return {
        f"kid_x1000{of}": birds.judge.kid(pictures),
        f"agreement_percent{of}": birds.agreement_percent(pictures),
        f"r_precision_percent{of}": birds.r_precision_percent(pictures),
    }


def operations(recipe: Recipe, data: BirdData, kimg: float) -> float:
    """Return the floating point operations of training a recipe for so many kimg.

    One round is counted, forward and backward, at the start of each stretch in which the same
    phases take place.

    Args:
        recipe: The recipe.
        data: What it learns from.
        kimg: Length in thousands of pictures.
    """
    step, total, done = kimg / 64, 0.0, 0.0
    known: dict[tuple[str, ...], float] = {}
    while done < kimg - 1e-9:
        active = tuple(p.name for p in recipe.phases if p.active is None or p.active(done))
        if active not in known:
            known[active] = _counted(recipe, data.resolution, active)
        total += known[active] * min(step, kimg - done) * 1000.0
        done += step
    return total


def equally_costly(
    trial: Trial, key: str, birds: Birds, other: Trained, kimg: float, **knobs: Any
) -> Trained:
    """Train a recipe whose rounds are alike with as many operations as another run took.

    Args:
        trial: The seed.
        key: The recipe.
        birds: What it learns from.
        other: The other run.
        kimg: Length of the other run.
        **knobs: Arguments of the recipe.
    """
    # A run of a few pictures tells what one costs, and is not gone on with.
    probe = trial.train(key, birds.data, kimg=0.256, name=f"{key}-probe", **knobs)
    wanted = operations(other.recipe, birds.data, kimg)
    length = round(wanted / operations(probe.recipe, birds.data, 1.0), 1)
    return trial.train(key, birds.data, kimg=length, **knobs)


def _counted(recipe: Recipe, resolution: int, active: Sequence[str], rows: int = 4) -> float:
    """Count one round on a batch of noise, a picture."""
    for _, network in nets(recipe):
        network.cpu()
    dim = cast(int, recipe.networks["generator"].condition_dim)
    pictures, captions = torch.randn(rows, 3, resolution, resolution), torch.randn(2, rows, dim)
    batch = Batch(
        pictures,
        RowNoise(0, 0, rows, slice(0, rows), torch.device("cpu")),
        0.0,
        captions=CaptionRows(captions[0], captions[1], torch.zeros(rows, rows, dtype=torch.bool)),
    )
    kept = {name: {k: v.clone() for k, v in n.state_dict().items()} for name, n in nets(recipe)}
    counter = _Operations()
    with counter:
        for phase in recipe.phases:
            if phase.name not in active:
                continue
            for name, network in nets(recipe):
                network.requires_grad_(name in phase.players)
            for _ in range(phase.steps):
                phase.loss(recipe.networks, batch).total.backward()  # type: ignore[no-untyped-call]
    for name, network in nets(recipe):
        network.requires_grad_(False).zero_grad()
        network.load_state_dict(kept[name])
    return counter.total / rows


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what `torch.utils.flop_counter` knows of each operation.

    Its own mode also follows modules, which a penalty's gradient of a gradient does not survive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        given = kwargs or {}
        out = func(*args, **given)
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **given, out_val=out)
        return out


def nets(recipe: Recipe) -> list[tuple[str, torch.nn.Module]]:
    """Return the networks of a recipe with their names."""
    return list(recipe.networks.items())


def show(path: Path, rows: Sequence[Pictures], titles: Sequence[str], columns: int = 8) -> Path:
    """Write the first pictures of several models, a row each, for the same captions."""
    return write_rows(path, [list(row[:columns]) for row in rows], titles=titles, cell=64)
