from __future__ import annotations

import pytest
import torch
from torch import nn

from t2i.networks import DcganAutoencoder
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.registry import Spec
from training.zoo.ebgan import ebgan, energy

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_losses_are_those_of_equations_1_and_2_with_the_pulling_away_term(weight: float) -> None:
    recipe = ebgan(spec_of(ring()), margin=0.9, pulling_away=weight, width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = (-logits for logits in scored.logits)
    expected = real.mean() + (0.9 - fake).clamp(min=0).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    pulled = weight * losses["generator"].parts["G/pulling_away"] if weight else 0.0
    torch.testing.assert_close(losses["generator"].total.detach(), mine.mean() + pulled)


def test_the_pulling_away_term_is_that_of_the_codes_of_fakes() -> None:
    recipe = ebgan(spec_of(ring()), width=4, noise_dim=3, code_dim=5)
    codes = []
    recipe.networks["discriminator"].encoder.register_forward_hook(  # type: ignore[operator,union-attr]
        lambda module, inputs, output: codes.append(output.detach())
    )
    losses = losses_of(recipe, batch_of(SAMPLES))
    mine = codes[-1]
    total = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                cosine = (mine[i] @ mine[j]) / (mine[i].norm() * mine[j].norm())
                total += float(cosine**2)
    assert losses["generator"].parts["G/pulling_away"].item() == pytest.approx(total / 12, rel=1e-4)


def test_fakes_beyond_the_margin_no_longer_move_the_critic() -> None:
    logits = torch.tensor([-0.5, -1.0, -3.0], requires_grad=True)
    (slope,) = torch.autograd.grad(energy(1.0).fake(logits), logits)
    assert slope.tolist() == pytest.approx([1 / 3, 0.0, 0.0])


def test_pictures_are_judged_by_a_convolutional_autoencoder() -> None:
    recipe = ebgan(spec_of(squares()), width=4)
    assert isinstance(recipe.networks["discriminator"], DcganAutoencoder)


def test_without_a_weight_nothing_is_pulled_away() -> None:
    for weight in (0.0, 0.1):
        recipe = ebgan(spec_of(ring()), pulling_away=weight, width=4, noise_dim=3)
        parts = losses_of(recipe, batch_of(SAMPLES))["generator"].parts
        assert ("G/pulling_away" in parts) == bool(weight)


def test_batchnorm_is_in_both_players_or_in_none() -> None:
    for norm in (False, True):
        networks = ebgan(Spec(32), norm=norm, width=4, noise_dim=3).networks
        for network in networks.values():
            assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == norm
