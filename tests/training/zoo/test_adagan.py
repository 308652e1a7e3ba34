from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks import MlpGenerator
from t2i.networks.mixture import MixtureGenerator
from tests.training.zoo.moves import batch_of
from tests.training.zoo.samples import ring, spec_of, trainer_of
from training.boosting import missed
from training.errors import TrainingError
from training.recipe import Batch, Losses, Recipe
from training.zoo.adagan import adagan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
NOISE = 4


def test_data_that_the_mixture_covers_evenly_weighs_the_same() -> None:
    for beta in (0.25, 0.5, 1.0):
        torch.testing.assert_close(missed(torch.zeros(6), beta), torch.ones(6))


def test_the_first_component_learns_the_data_as_it_is() -> None:
    torch.testing.assert_close(missed(torch.randn(8), beta=1.0), torch.ones(8))


def test_weights_are_those_of_algorithm_3() -> None:
    # h = 0 where d is sure that the mixture has nothing, and 3 where it has too much. β = 1/2:
    # two of four samples stay under the level λ = 4/2 · 1/2 = 1 < 3/2, and get λ/β = 2 each.
    logits = torch.tensor([40.0, -(torch.tensor(3.0).log().item()), 40.0, -1.0986123])
    torch.testing.assert_close(missed(logits, beta=0.5), torch.tensor([2.0, 0.0, 2.0, 0.0]))
    # h = (0, 1), β = 1/2: λ = 1/2 + 1/4 and weights (λ - h/2) / β.
    found = missed(torch.tensor([40.0, 0.0]), beta=0.5)
    torch.testing.assert_close(found, torch.tensor([1.5, 0.5]))


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_weights_have_mean_one_and_fall_where_the_mixture_has_more(beta: float) -> None:
    logits = 2.0 * torch.randn(50, generator=torch.Generator().manual_seed(1))
    weights = missed(logits, beta)
    assert weights.mean().item() == pytest.approx(1.0, rel=1e-5)
    assert (weights[logits.argsort()].diff() >= -1e-6).all()


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    given = {"components": 2, "stage_kimg": 1.0, "width": 4, "noise_dim": NOISE - 1, **knobs}
    return adagan(spec_of(ring()), **given)  # type: ignore[arg-type]


def at(kimg: float) -> Batch:
    return replace(batch_of(SAMPLES), kimg=kimg)


def component(recipe: Recipe, number: int, name: str) -> Tensor:
    mixture = cast(MixtureGenerator, recipe.networks["generator"])
    noise = batch_of(SAMPLES).noise.normal(name, NOISE)
    return mixture.component(number, torch.zeros(4, 0), noise)


def of_player(recipe: Recipe, player: str, batch: Batch) -> Losses:
    """Losses of one phase; gradients are in the parts that they name alone."""
    (phase,) = (each for each in recipe.phases if each.name == player)
    for name, network in recipe.networks.items():
        network.zero_grad()
        network.requires_grad_(name == player)
    losses = phase.loss(recipe.networks, batch)
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert not any(part.requires_grad for part in losses.parts.values())
    return losses


def learning(parts: nn.Module) -> list[bool]:
    return [any(w.grad is not None for w in part.parameters()) for part in parts.children()]


@pytest.mark.parametrize("stage", [0, 1])
def test_a_stage_trains_its_own_pair_on_the_weighted_data(stage: int) -> None:
    recipe = small()
    batch = at(stage + 0.5)
    mixture = recipe.networks["generator"]
    critics = cast(nn.ModuleList, recipe.networks["discriminators"])
    found = of_player(recipe, "discriminators", batch)
    assert learning(critics) == [number == stage for number in range(2)]
    weights = missed(recipe.networks["weigher"](SAMPLES).logits, beta=1.0 / (stage + 1))
    fake = critics[stage](component(recipe, stage, "discriminator")).logits
    real = critics[stage](SAMPLES).logits
    expected = (weights * -F.logsigmoid(real)).mean() - F.logsigmoid(-fake).mean()
    torch.testing.assert_close(found.total, expected)
    found = of_player(recipe, "generator", batch)
    assert learning(cast(MixtureGenerator, mixture).parts) == [n == stage for n in range(2)]
    mine = critics[stage](component(recipe, stage, "generator")).logits
    torch.testing.assert_close(found.total, -F.logsigmoid(mine).mean())


def test_the_weigher_tells_the_data_from_the_mixture_so_far() -> None:
    recipe = small()
    found = of_player(recipe, "weigher", at(1.1))
    d = recipe.networks["weigher"]
    # Only the first component has weight yet.
    fake = component(recipe, 0, "mixture")
    expected = -F.logsigmoid(d(SAMPLES).logits).mean() - F.logsigmoid(-d(fake).logits).mean()
    torch.testing.assert_close(found.total, expected)


def test_the_weigher_learns_at_the_start_of_each_stage_but_the_first() -> None:
    weigher, critics, generator = small(weighing=0.25).phases
    for kimg, expected in ((0.0, False), (0.9, False), (1.1, True), (1.3, False), (7.0, False)):
        for phase, wanted in ((weigher, expected), (critics, not expected)):
            assert phase.active is not None and phase.active(kimg) == wanted
    assert generator.active == critics.active


def test_components_join_the_mixture_with_equal_shares(tmp_path: Path) -> None:
    data = ring()
    recipe = adagan(
        spec_of(data), components=3, stage_kimg=0.016, width=4, noise_dim=3, batch_size=8
    )
    run = trainer_of(recipe, data, tmp_path, kimg=0.032)
    list(run.train())
    torch.testing.assert_close(run.average.get_buffer("weights"), torch.tensor([0.5, 0.5, 0.0]))


def test_the_last_entry_of_the_noise_chooses_the_component() -> None:
    torch.manual_seed(0)
    mixture = MixtureGenerator.of(MlpGenerator(noise_dim=2, width=4), 3)
    mixture.weights.copy_(torch.tensor([0.5, 0.25, 0.25]))
    noise = torch.tensor([[1.0, 2.0, z] for z in (1.0, -1.0, 0.3, -3.0)])
    nothing = torch.zeros(4, 0)
    expected = [mixture.component(k, nothing, noise)[0] for k in (2, 0, 1, 0)]
    torch.testing.assert_close(mixture(nothing, noise).pictures[-1], torch.stack(expected))
    mixture.weights.copy_(torch.tensor([1.0, 0.0, 0.0]))
    alone = mixture(nothing, noise).pictures[-1]
    torch.testing.assert_close(alone, mixture.component(0, nothing, noise))


@pytest.mark.parametrize("knob", ["components", "stage_kimg", "weighing"])
def test_what_leaves_nothing_to_learn_is_refused(knob: str) -> None:
    with pytest.raises(TrainingError, match="components, stage_kimg: give more than 0"):
        small(**{knob: 0})
    with pytest.raises(TrainingError, match="weighing: between 0 and 1"):
        small(weighing=1.0)
    assert len(list(small(components=1).networks["discriminators"].children())) == 1
