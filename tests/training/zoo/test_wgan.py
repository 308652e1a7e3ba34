from __future__ import annotations

import pytest
import torch

from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.optimizers import RMSProp
from training.recipe import Update
from training.zoo.wgan import wgan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def test_the_critic_maximises_the_difference_of_means() -> None:
    recipe = wgan(spec_of(ring()), width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = (logits.mean() for logits in scored.logits)
    torch.testing.assert_close(losses["discriminator"].total.detach(), fake - real)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine)


def test_algorithm_1_clips_every_weight_of_the_critic_after_its_step() -> None:
    recipe = wgan(spec_of(ring()), clip=0.02, width=4, noise_dim=3)
    critic, generator = recipe.phases
    assert critic.after is not None and generator.after is None
    assert critic.steps == 5
    with torch.no_grad():
        critic.after(recipe.networks, Update(0.0, 0, {}))
    largest = {
        name: max(float(w.detach().abs().max()) for w in network.parameters())
        for name, network in recipe.networks.items()
    }
    assert largest["discriminator"] == pytest.approx(0.02)
    assert largest["generator"] > 0.1


def test_the_players_take_rmsprop() -> None:
    assert wgan(spec_of(ring())).phases[0].optimizer == RMSProp(5e-5)
