from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from tests.training.zoo.told import Told
from training.classes import as_fake, drawn_labels, not_fake
from training.errors import TrainingError
from training.recipe import Recipe
from training.registry import Spec
from training.zoo.ac_gan import ac_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
LABELS = torch.tensor([0, 1, 2, 3])


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return ac_gan(spec_of(ring()), width=4, noise_dim=3, **knobs)


def test_discriminator_minimises_minus_source_and_class_of_equations_2_and_3() -> None:
    recipe, batch = small(), batch_of(SAMPLES, LABELS)
    told = Told(recipe)
    loss = losses_of(recipe, batch)["discriminator"].total.detach()
    asked = drawn_labels(4)(batch).argmax(dim=1)
    (real, real_classes), (fake, fake_classes), _ = told.moves
    source = torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()
    rows = torch.arange(4)
    classes = real_classes.softmax(1)[rows, LABELS].log().mean()
    classes = classes + fake_classes.softmax(1)[rows, asked].log().mean()
    torch.testing.assert_close(loss, -(source + classes))


@pytest.mark.parametrize("saturating", [False, True])
def test_generator_maximises_the_asked_class_minus_the_source(saturating: bool) -> None:
    recipe, batch = small(saturating=saturating), batch_of(SAMPLES, LABELS)
    told = Told(recipe)
    loss = losses_of(recipe, batch)["generator"].total.detach()
    asked = drawn_labels(4)(batch).argmax(dim=1)
    fake, classes = told.moves[-1]
    p = torch.sigmoid(fake)
    source = (1 - p).log().mean() if saturating else -p.log().mean()
    shown = classes.softmax(1)[torch.arange(4), asked].log().mean()
    torch.testing.assert_close(loss, source - shown)


def test_what_fakes_are_asked_for_has_nothing_to_do_with_the_real_labels() -> None:
    one, other = batch_of(SAMPLES, LABELS), batch_of(SAMPLES, LABELS.flip(0))
    recipe = small()
    first, second = (losses_of(recipe, each)["generator"].total for each in (one, other))
    assert torch.equal(first, second)
    many = drawn_labels(4)(batch_of(torch.zeros(400, 2)))
    assert torch.equal(many.sum(1), torch.ones(400)) and many.sum(0).min() > 60


def test_both_heads_of_the_critic_learn_and_the_class_term_reaches_the_generator() -> None:
    recipe, batch = small(), batch_of(SAMPLES, LABELS)
    critic = recipe.networks["discriminator"]
    recipe.phases[0].loss(recipe.networks, batch).total.backward()  # type: ignore[no-untyped-call]
    for head in (critic.score, critic.head):
        assert head.weight.grad is not None and head.weight.grad.abs().sum() > 0

    def gradient(weight: float) -> torch.Tensor:
        each = small(class_weight=weight)
        losses_of(each, batch)
        grads = [w.grad.flatten() for w in each.networks["generator"].parameters()]
        return torch.cat(grads)

    assert not torch.allclose(gradient(0.0), gradient(1.0))


def test_the_critic_is_not_told_the_label() -> None:
    assert small().networks["discriminator"].condition_dim == 0


def test_terms_on_k_plus_one_classes_are_logarithms_of_probabilities() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0]])
    fake = logits.softmax(1)[:, -1]
    torch.testing.assert_close(not_fake(logits), -(1 - fake).log().mean())
    torch.testing.assert_close(as_fake(logits), -fake.log().mean())
    # Where a softmax had been fed to a cross-entropy, sure logits would not come near zero.
    assert F.cross_entropy(torch.tensor([[30.0, 0.0]]), torch.tensor([0])) < 1e-6
    assert float(not_fake(torch.tensor([[0.0, 0.0, 60.0]]))) == pytest.approx(60 - 0.6931, abs=1e-3)


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        ac_gan(Spec(32))
