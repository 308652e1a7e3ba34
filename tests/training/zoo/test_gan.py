from __future__ import annotations

import pytest
import torch
from torch import nn

from t2i.networks.mlp import Maxout
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.optimizers import SGD, Adam
from training.zoo.gan import gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


@pytest.mark.parametrize("saturating", [False, True])
def test_losses_are_those_of_equation_1(saturating: bool) -> None:
    recipe = gan(spec_of(ring()), saturating=saturating, width=8, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = (torch.sigmoid(logits) for logits in scored.logits)
    value = real.log().mean() + (1 - fake).log().mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), -value)
    expected = (1 - mine).log().mean() if saturating else -mine.log().mean()
    torch.testing.assert_close(losses["generator"].total.detach(), expected)


def test_the_discriminator_has_maxout_units_and_the_generator_rectified_ones() -> None:
    recipe = gan(spec_of(ring()), width=8)
    kinds = {name: {type(m) for m in net.modules()} for name, net in recipe.networks.items()}
    assert Maxout in kinds["discriminator"]
    assert nn.ReLU in kinds["generator"]
    hidden = [m for m in recipe.networks["discriminator"].modules() if isinstance(m, Maxout)]
    assert len(hidden) == 2


def test_pictures_are_taken_as_vectors_of_their_own_length() -> None:
    recipe = gan(spec_of(squares()), width=8, noise_dim=3)
    drawn = recipe.networks["generator"](torch.zeros(2, 0), torch.zeros(2, 3)).pictures[-1]
    assert drawn.shape == (2, 3, 16, 16)
    assert recipe.networks["discriminator"](drawn).logits.shape == (2,)


def test_a_momentum_asks_for_gradient_descent() -> None:
    assert gan(spec_of(ring()), momentum=0.5).phases[0].optimizer == SGD(2e-4, 0.5)


def test_without_a_momentum_both_players_take_adam() -> None:
    phases = gan(spec_of(ring())).phases
    assert [p.optimizer for p in phases] == 2 * [Adam(2e-4, betas=(0.5, 0.999))]


def test_k_discriminator_steps_come_before_one_generator_step() -> None:
    assert [p.steps for p in gan(spec_of(ring()), n_dis=3).phases] == [3, 1]
