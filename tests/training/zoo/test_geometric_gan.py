from __future__ import annotations

import pytest
import torch

from t2i.networks import MlpCritic
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.zoo.geometric_gan import geometric_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def test_losses_are_those_of_equations_24_and_25() -> None:
    recipe = geometric_gan(spec_of(ring()), width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = scored.logits
    expected = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.mean())


def test_samples_beyond_the_margin_do_not_move_the_discriminator() -> None:
    recipe = geometric_gan(spec_of(ring()), width=4, noise_dim=3)
    critic = recipe.networks["discriminator"]
    assert isinstance(critic, MlpCritic)
    with torch.no_grad():
        critic.score.weight.zero_()
        critic.score.bias.fill_(5.0)
    losses = recipe.phases[0].loss(recipe.networks, batch_of(SAMPLES))
    assert losses.total.item() == pytest.approx(0.0 + 6.0)
