from __future__ import annotations

import pytest
import torch

from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from tests.training.zoo.told import Told
from training.classes import drawn_labels
from training.errors import TrainingError
from training.recipe import Recipe
from training.registry import Spec
from training.zoo.am_gan import am_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
LABELS = torch.tensor([0, 1, 2, 3])
ROWS = torch.arange(4)


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return am_gan(spec_of(ring()), width=4, noise_dim=3, **knobs)


@pytest.mark.parametrize("dynamic", [True, False])
def test_the_discriminator_names_the_label_of_data_and_fake_of_fakes(dynamic: bool) -> None:
    recipe = small(dynamic=dynamic)
    told = Told(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES, LABELS))["discriminator"]
    real, fake = (each.softmax(1) for each in told.classes[:2])
    real_loss, fake_loss = -real[ROWS, LABELS].log().mean(), -fake[:, 4].log().mean()
    torch.testing.assert_close(losses.total.detach(), real_loss + fake_loss)
    assert losses.parts == {"D/real": pytest.approx(real_loss), "D/fake": pytest.approx(fake_loss)}


def test_each_fake_climbs_towards_the_likeliest_class_that_is_not_fake() -> None:
    recipe = small()
    critic = recipe.networks["discriminator"]
    # Sure that all is fake: the target must still be one of the four classes.
    critic.head.bias.data[4] = 9.0
    told = Told(recipe)
    loss = losses_of(recipe, batch_of(SAMPLES, LABELS))["generator"].total.detach()
    p = told.classes[-1].softmax(1)
    best = p[:, :4].max(dim=1).values
    assert float(best.max()) < 0.5
    torch.testing.assert_close(loss, -best.log().mean())


def test_predefined_labels_are_drawn_and_asked_of_the_generator() -> None:
    recipe, batch = small(dynamic=False), batch_of(SAMPLES, LABELS)
    told = Told(recipe)
    loss = losses_of(recipe, batch)["generator"].total.detach()
    asked = drawn_labels(4)(batch).argmax(dim=1)
    expected = -told.classes[-1].softmax(1)[ROWS, asked].log().mean()
    torch.testing.assert_close(loss, expected)
    assert recipe.networks["generator"].condition_dim == 4
    assert small().networks["generator"].condition_dim == 0


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        am_gan(Spec(32))
