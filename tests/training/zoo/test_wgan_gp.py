from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from t2i.networks import MlpCritic
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.optimizers import Adam
from training.zoo.wgan_gp import wgan_gp

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def test_the_critics_loss_is_equation_3() -> None:
    recipe = wgan_gp(spec_of(ring()), penalty=7.0, width=4, noise_dim=3)
    scored = Scored(recipe)
    found = losses_of(recipe, batch_of(SAMPLES))
    real, fake, _, mine = scored.logits
    critic = found["discriminator"]
    expected = fake.mean() - real.mean() + 7.0 * critic.parts["D/gradient_penalty"]
    torch.testing.assert_close(critic.total.detach(), expected)
    torch.testing.assert_close(found["generator"].total.detach(), -mine.mean())


def test_the_penalty_is_that_of_the_slope_of_a_linear_critic() -> None:
    recipe = wgan_gp(spec_of(ring()), width=4, noise_dim=3)
    critic = recipe.networks["discriminator"]
    assert isinstance(critic, MlpCritic)
    with torch.no_grad():
        # Of D(x) = 3 x₁ + 4 x₂, through leaky units that all stay on their positive side.
        for module in critic.modules():
            if isinstance(module, nn.Linear):
                module.weight.zero_()
                module.bias.fill_(100.0)
                module.weight[0, 0] = 1.0
                if module.out_features > 1:
                    module.weight[1, 1] = 1.0
        critic.score.weight[0, :2] = torch.tensor([3.0, 4.0])
    critic_phase = recipe.phases[0]
    parts = critic_phase.loss(recipe.networks, batch_of(SAMPLES)).parts
    assert parts["D/gradient_penalty"].item() == pytest.approx(16.0, rel=1e-4)


def test_the_papers_settings_are_the_defaults() -> None:
    recipe = wgan_gp(spec_of(squares()), width=4)
    critic, generator = recipe.phases
    assert critic.steps == 5
    assert critic.optimizer == generator.optimizer == Adam(1e-4, betas=(0.0, 0.9))
    norms = [m for m in recipe.networks["discriminator"].modules() if isinstance(m, _BatchNorm)]
    assert not norms


def test_the_learning_rate_falls_to_zero_where_asked() -> None:
    schedule = wgan_gp(spec_of(ring()), decay_kimg=10.0).phases[0].optimizer.schedule
    assert schedule is not None
    assert [schedule(kimg) for kimg in (0.0, 5.0, 20.0)] == pytest.approx([1.0, 0.5, 0.0])
