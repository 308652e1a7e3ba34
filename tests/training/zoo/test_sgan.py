from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from tests.training.zoo.told import Told
from training.errors import TrainingError
from training.recipe import Batch, LabelledRows, Recipe
from training.registry import Spec
from training.zoo.sgan import sgan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
LABELS = torch.tensor([0, 1, 2, 3])
ROWS = torch.arange(4)


def small(labelled: int = 64, **knobs: object) -> Recipe:
    torch.manual_seed(0)
    return sgan(replace(spec_of(ring()), labelled=labelled), width=4, noise_dim=3, **knobs)


def batch(labels: torch.Tensor = LABELS) -> Batch:
    return replace(batch_of(SAMPLES, labels), labelled=LabelledRows(SAMPLES.flip(0), LABELS))


def test_data_wants_its_class_and_fakes_want_fake_among_k_plus_one() -> None:
    recipe = small()
    told = Told(recipe)
    loss = losses_of(recipe, batch())["discriminator"].total.detach()
    real, fake = (each.softmax(1) for each in told.classes[:2])
    assert real.shape == (4, 5)
    expected = -real[ROWS, LABELS].log().mean() - fake[:, 4].log().mean()
    torch.testing.assert_close(loss, expected)


def test_samples_without_a_label_want_anything_but_fake() -> None:
    recipe = small(labelled=8)
    told = Told(recipe)
    losses = losses_of(recipe, batch(torch.full((4,), -1)))["discriminator"]
    labelled, fake, real = (each.softmax(1) for each in told.classes[:3])
    expected = -labelled[ROWS, LABELS].log().mean() - fake[:, 4].log().mean()
    expected = expected - (1 - real[:, 4]).log().mean()
    torch.testing.assert_close(losses.total.detach(), expected)
    torch.testing.assert_close(losses.parts["D/real"], -(1 - real[:, 4]).log().mean())
    torch.testing.assert_close(losses.parts["D/fake"], -fake[:, 4].log().mean())


@pytest.mark.parametrize("saturating", [False, True])
def test_the_generator_flees_the_fake_class(saturating: bool) -> None:
    recipe = small(saturating=saturating)
    told = Told(recipe)
    loss = losses_of(recipe, batch())["generator"].total.detach()
    fake = told.classes[-1].softmax(1)[:, 4]
    expected = fake.log().mean() if saturating else -(1 - fake).log().mean()
    torch.testing.assert_close(loss, expected)


def test_unlabelled_data_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        sgan(Spec(32))
