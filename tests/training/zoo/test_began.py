from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2i.networks import BeganAutoencoder, BeganGenerator
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.balance import Balance
from training.errors import TrainingError
from training.recipe import Recipe, Update
from training.zoo.began import began

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def balance_of(recipe: Recipe) -> Balance:
    balance = recipe.networks["balance"]
    assert isinstance(balance, Balance)
    return balance


def after(recipe: Recipe, number: int, **parts: float) -> None:
    hook = recipe.phases[number].after
    assert hook is not None
    named: dict[str, Tensor] = {
        name.replace("_", "/"): torch.tensor(value) for name, value in parts.items()
    }
    hook(recipe.networks, Update(0.0, 0, named))


def test_losses_are_those_of_section_3_4() -> None:
    recipe = began(spec_of(ring()), gamma=0.5, width=4, noise_dim=3)
    balance = balance_of(recipe)
    balance.k.fill_(0.3)
    balance.real.fill_(2.0)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = (-logits.mean() for logits in scored.logits)
    torch.testing.assert_close(losses["discriminator"].total.detach(), real - 0.3 * fake)
    torch.testing.assert_close(losses["generator"].total.detach(), mine)
    measure = 2.0 + (0.5 * 2.0 - mine).abs()
    torch.testing.assert_close(losses["generator"].parts["G/global_measure"], measure)
    parts = losses["discriminator"].parts
    torch.testing.assert_close(parts["D/real"], real)
    torch.testing.assert_close(parts["D/fake"], fake)
    assert not recipe.joins_late


def test_the_balance_moves_by_how_far_the_errors_are_from_their_ratio() -> None:
    recipe = began(spec_of(ring()), gamma=0.5, k_rate=0.1, width=4)
    balance = balance_of(recipe)
    assert balance.k == 0.0
    after(recipe, 0, D_real=2.0)
    after(recipe, 1, G_fake=0.4)
    assert float(balance.k) == pytest.approx(0.1 * (0.5 * 2.0 - 0.4))
    after(recipe, 1, G_fake=1.3)
    assert float(balance.k) == pytest.approx(0.06 + 0.1 * (1.0 - 1.3))


@pytest.mark.parametrize(("fake", "end"), [(100.0, 0.0), (-100.0, 1.0)])
def test_the_balance_stays_between_zero_and_one(fake: float, end: float) -> None:
    recipe = began(spec_of(ring()), k_rate=0.1, width=4)
    after(recipe, 1, G_fake=fake)
    assert balance_of(recipe).k == end


def test_pictures_take_the_papers_networks_and_points_linear_layers() -> None:
    recipe = began(spec_of(squares()), width=4)
    assert isinstance(recipe.networks["generator"], BeganGenerator)
    critic = recipe.networks["discriminator"]
    assert isinstance(critic, BeganAutoencoder) and critic.exponent == 1


def test_the_rate_is_halved_where_asked_and_gamma_is_a_ratio() -> None:
    schedule = began(spec_of(ring()), halve_kimg=10.0).phases[1].optimizer.schedule
    assert schedule is not None
    assert [schedule(kimg) for kimg in (0.0, 9.9, 10.0, 25.0)] == [1.0, 1.0, 0.5, 0.25]
    with pytest.raises(TrainingError, match=r"gamma: is 1.5; give 0 to 1"):
        began(spec_of(ring()), gamma=1.5)
