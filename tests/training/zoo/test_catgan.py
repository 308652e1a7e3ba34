from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from tests.training.zoo.told import Told
from training.errors import TrainingError
from training.recipe import LabelledRows, Recipe
from training.zoo.catgan import catgan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return catgan(spec_of(ring()), width=4, noise_dim=3, **knobs)


def entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * p.log()).sum(-1)


def test_losses_are_those_of_equation_7() -> None:
    recipe = small(categories=3)
    told = Told(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES, torch.tensor([0, 1, 2, 3])))
    real, fake, mine = (each.softmax(1) for each in told.classes)
    assert real.shape == (4, 3)
    value = entropy(real.mean(0)) - entropy(real).mean() + entropy(fake).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), -value)
    value = -entropy(mine.mean(0)) + entropy(mine).mean()
    torch.testing.assert_close(losses["generator"].total.detach(), value)


def test_few_labels_add_their_cross_entropy_as_in_equation_9() -> None:
    labelled = LabelledRows(SAMPLES.flip(0), torch.tensor([3, 2, 1, 0]))
    batch = replace(batch_of(SAMPLES, torch.full((4,), -1)), labelled=labelled)
    plain, few = small(categories=4), small(label_weight=0.5)
    told = Told(few)
    first, second = (losses_of(each, batch)["discriminator"].total for each in (plain, few))
    named = told.classes[2].softmax(1)[torch.arange(4), labelled.labels]
    torch.testing.assert_close((second - first).detach(), -0.5 * named.log().mean())


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_labels_count_only_where_they_are_looked_at_and_there_are_some(weight: float) -> None:
    recipe, batch = small(label_weight=weight, categories=4), batch_of(SAMPLES)
    few = replace(batch, labelled=LabelledRows(SAMPLES, torch.tensor([0, 1, 2, 3])))
    found = [losses_of(recipe, each)["discriminator"].parts for each in (batch, few)]
    assert ["D/labelled" in parts for parts in found] == [False, weight > 0]


def test_most_samples_may_have_no_label() -> None:
    spec = replace(spec_of(ring()), labelled=1)
    recipe = catgan(spec, label_weight=1.0, width=4, noise_dim=3)
    assert Told(recipe).classes == [] and recipe.batch_size > 0


def test_one_category_is_refused() -> None:
    with pytest.raises(TrainingError, match="categories: is 1; give 2 or more"):
        small(categories=1)
    assert small(categories=2).batch_size > 0
