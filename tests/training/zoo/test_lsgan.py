from __future__ import annotations

import pytest
import torch

from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.optimizers import Adam
from training.zoo.lsgan import lsgan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


@pytest.mark.parametrize("codes", [(0.0, 1.0, 1.0), (-1.0, 1.0, 0.0)])
def test_losses_are_those_of_equation_2(codes: tuple[float, float, float]) -> None:
    a, b, c = codes
    recipe = lsgan(spec_of(ring()), a=a, b=b, c=c, width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = scored.logits
    expected = 0.5 * (real - b).square().mean() + 0.5 * (fake - a).square().mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    expected = 0.5 * (mine - c).square().mean()
    torch.testing.assert_close(losses["generator"].total.detach(), expected)


def test_both_players_take_adam() -> None:
    phases = lsgan(spec_of(ring()), learning_rate=3e-4).phases
    assert [p.optimizer for p in phases] == 2 * [Adam(3e-4, betas=(0.5, 0.999))]
