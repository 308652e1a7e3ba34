"""Every objective with every regulariser under every condition: one step by the real trainer.

Either both players move and all losses are finite, or the combination is refused in words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from t2i.networks import MlpCritic, MlpGenerator
from t2i.networks.base import Critic
from t2i.networks.minibatch import MinibatchCritic
from tests.training.conftest import embeddings_of, squares
from training.augment import DiffAugment
from training.classes import ShowClasses, TellClasses, drawn_labels
from training.compose import Condition, by_caption, by_label, compose, unconditional
from training.divergences import DIVERGENCES, bregman, variational
from training.errors import TrainingError
from training.historical import CriticsHistoricalAverage, HistoricalAverage
from training.objectives import (
    Adversarial,
    Margin,
    Relativistic,
    boundary_seeking,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    smoothed,
    wasserstein,
)
from training.optimizers import Adam
from training.recipe import Recipe
from training.regularizers import (
    Consistency,
    Drift,
    FeatureMatching,
    GradientPenalty,
    LeCam,
    Orthogonal,
    PullingAway,
    Regularizer,
    clip_weights,
    dragan,
    r1,
    r2,
)
from training.stream import CaptionStream, SampleStream, Stream
from training.supervised import Supervised
from training.trainer import Settings, Trainer, accelerator_for

DATA = squares(resolution=8, count=12)
SHAPE, CLASSES, WORDS = (3, 8, 8), 3, 6
LABELLED = SampleStream(DATA)
CAPTIONED = CaptionStream(DATA, embeddings_of(DATA, WORDS))


class Asked(NamedTuple):
    """A way in which both players learn what to draw."""

    dim: int
    condition: Condition
    critic: dict[str, object]
    stream: Stream
    own: Sequence[Callable[[], Regularizer]] = ()


CONDITIONS = {
    "none": Asked(0, unconditional, {}, LABELLED),
    "label-concat": Asked(CLASSES, by_label(CLASSES), {"condition_dim": CLASSES}, LABELLED),
    "label-projection": Asked(
        CLASSES,
        by_label(CLASSES),
        {"condition_dim": CLASSES, "joining": "projection"},
        LABELLED,
    ),
    "label-auxiliary": Asked(
        CLASSES,
        drawn_labels(CLASSES),
        {"outputs": CLASSES},
        LABELLED,
        (lambda: TellClasses(1.0), lambda: ShowClasses(1.0)),
    ),
    "caption-concat": Asked(WORDS, by_caption, {"condition_dim": WORDS}, CAPTIONED),
    "caption-projection": Asked(
        WORDS, by_caption, {"condition_dim": WORDS, "joining": "projection"}, CAPTIONED
    ),
}

OBJECTIVES: dict[str, Adversarial] = {
    "minimax": minimax,
    "non-saturating": non_saturating,
    "boundary-seeking": boundary_seeking,
    "hinge": hinge,
    "wasserstein": wasserstein,
    "least-squares": least_squares(),
    "smoothed": smoothed(non_saturating),
    "relativistic": Relativistic(average=False),
    "relativistic-average": Relativistic(),
    "margin": Margin(),
    "f-divergence": variational(DIVERGENCES["js"]),
    "density-ratio": bregman(DIVERGENCES["pearson"]),
}

Terms = Callable[[nn.Module, nn.Module], Sequence[Regularizer]]
REGULARIZERS: dict[str, Terms] = {
    "nothing": lambda g, d: (),
    "gradient-penalty": lambda g, d: (GradientPenalty(10.0),),
    "one-sided-penalty": lambda g, d: (GradientPenalty(10.0, one_sided=True),),
    "r1-and-r2-lazily": lambda g, d: (r1(every=4), r2(every=4)),
    "dragan": lambda g, d: (dragan(),),
    "drift": lambda g, d: (Drift(1e-3),),
    "consistency": lambda g, d: (Consistency(1.0, also_fakes=True),),
    "lecam": lambda g, d: (LeCam(0.1),),
    "orthogonal": lambda g, d: (Orthogonal(1e-4),),
    "pulling-away": lambda g, d: (PullingAway(0.1),),
    "feature-matching": lambda g, d: (FeatureMatching(1.0),),
    "history": lambda g, d: (HistoricalAverage(0.1, of=g), CriticsHistoricalAverage(0.1, of=d)),
    "clipped-weights": lambda g, d: (),
    "augmented": lambda g, d: (),
}
PER_SAMPLE = ("gradient-penalty", "one-sided-penalty", "r1-and-r2-lazily", "dragan")


def recipe_of(
    asked: Asked,
    objective: Adversarial = non_saturating,
    name: str = "nothing",
    critic: Critic | None = None,
) -> Recipe:
    torch.manual_seed(0)
    generator = MlpGenerator(
        sample_shape=SHAPE, condition_dim=asked.dim, noise_dim=3, width=4, depth=1
    )
    if critic is None:
        critic = MlpCritic(sample_shape=SHAPE, width=4, depth=2, **asked.critic)  # type: ignore[arg-type]
    return compose(
        generator=generator,
        discriminator=critic,
        objective=objective,
        optimizer=Adam(1e-2, betas=(0.5, 0.999)),
        regularizers=[*REGULARIZERS[name](generator, critic), *(term() for term in asked.own)],
        condition=asked.condition,
        after=clip_weights(0.01) if name == "clipped-weights" else None,
        augment=DiffAugment() if name == "augmented" else None,
        batch_size=4,
        key="matrix",
    )


def play(recipe: Recipe, stream: Stream, out: Path) -> dict[str, torch.Tensor]:
    accelerator = accelerator_for("no", out)
    return Trainer(recipe, stream, Settings(out, 1.0), accelerator).play_round()


def assert_both_move(recipe: Recipe, stream: Stream, out: Path) -> None:
    before = {
        player: nn.utils.parameters_to_vector(recipe.networks[player].parameters()).clone()
        for player in ("generator", "discriminator")
    }
    losses = play(recipe, stream, out)
    assert all(torch.isfinite(value) for value in losses.values()), losses
    assert {"D/adversarial", "G/adversarial"} <= set(losses)
    for player, weights in before.items():
        after = nn.utils.parameters_to_vector(recipe.networks[player].parameters())
        assert torch.isfinite(after).all() and not torch.equal(after, weights), player


@pytest.mark.parametrize("asked", list(CONDITIONS))
@pytest.mark.parametrize("name", list(REGULARIZERS))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_one_step_moves_both_players_and_all_losses_are_finite(
    objective: str, name: str, asked: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    condition = CONDITIONS[asked]
    recipe = recipe_of(condition, OBJECTIVES[objective], name)
    assert_both_move(recipe, condition.stream, tmp_path_factory.getbasetemp())


def tied(kind: str, asked: Asked) -> Critic:
    critic = MlpCritic(
        sample_shape=SHAPE,
        width=4,
        depth=2,
        norm=kind == "BatchNorm",
        **asked.critic,  # type: ignore[arg-type]
    )
    return critic if kind == "BatchNorm" else MinibatchCritic(critic)


@pytest.mark.parametrize("name", list(REGULARIZERS))
@pytest.mark.parametrize("kind", ["BatchNorm", "minibatch discrimination"])
def test_a_critic_that_ties_samples_together_is_refused_by_per_sample_terms_alone(
    kind: str, name: str, tmp_path: Path
) -> None:
    asked = CONDITIONS["none"]
    if name in PER_SAMPLE:
        with pytest.raises(TrainingError, match=f"critic's {kind} ties .* without {kind}"):
            recipe_of(asked, name=name, critic=tied(kind, asked))
    else:
        recipe = recipe_of(asked, name=name, critic=tied(kind, asked))
        assert_both_move(recipe, asked.stream, tmp_path)


@pytest.mark.parametrize("term", [TellClasses(1.0), ShowClasses(1.0), Supervised()])
@pytest.mark.parametrize("asked", [name for name in CONDITIONS if name != "label-auxiliary"])
def test_terms_on_classes_are_refused_by_a_critic_that_tells_none(
    asked: str, term: Regularizer
) -> None:
    condition = CONDITIONS[asked]._replace(own=(lambda: term,))
    with pytest.raises(TrainingError, match=f"{term.name}: .* build the critic with outputs"):
        recipe_of(condition)


@pytest.mark.parametrize("asked", ["caption-concat", "caption-projection"])
def test_captions_asked_of_data_without_any_are_refused(asked: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"captions: the batch has none; train on data with"):
        play(recipe_of(CONDITIONS[asked]), LABELLED, tmp_path)


@pytest.mark.parametrize("asked", ["label-concat", "label-projection"])
def test_labels_asked_of_data_without_any_are_refused(asked: str, tmp_path: Path) -> None:
    nameless = SampleStream(dataclasses.replace(DATA, labels=None, label_names=()))
    with pytest.raises(TrainingError, match="labels: the batch has none; train on data with"):
        play(recipe_of(CONDITIONS[asked]), nameless, tmp_path)


@pytest.mark.parametrize("asked", [name for name, each in CONDITIONS.items() if "conc" in name])
def test_a_critic_of_another_condition_than_the_generators_is_refused(asked: str) -> None:
    with pytest.raises(TrainingError, match="the generator draws from 0; build both from the same"):
        recipe_of(CONDITIONS[asked]._replace(dim=0))
