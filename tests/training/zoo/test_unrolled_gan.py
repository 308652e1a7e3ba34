from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.training.conftest import squares
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.optimizers import Adam
from training.recipe import Recipe
from training.unroll import UnrolledAdam
from training.zoo.unrolled_gan import unrolled_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return unrolled_gan(spec_of(ring()), **{"width": 4, "noise_dim": 3, **knobs})


def value(recipe: Recipe, fake: Tensor) -> Tensor:
    """f, of section 2.1."""
    critic = recipe.networks["discriminator"]
    real, faked = critic(SAMPLES).logits, critic(fake).logits
    return torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(faked)).log().mean()


def drawn(recipe: Recipe, name: str) -> Tensor:
    noise = batch_of(SAMPLES).noise.normal(name, 3)
    fake: Tensor = recipe.networks["generator"](torch.zeros(4, 0), noise).pictures[-1]
    return fake


def test_without_unrolling_both_players_have_the_value_of_the_first_gan() -> None:
    recipe = small(unrolled=0)
    found = losses_of(recipe, batch_of(SAMPLES))
    mine = value(recipe, drawn(recipe, "generator"))
    torch.testing.assert_close(found["generator"].total, mine)
    torch.testing.assert_close(
        found["discriminator"].total, -value(recipe, drawn(recipe, "discriminator"))
    )


@pytest.mark.parametrize("inner_rate", [0.0, 0.1])
def test_the_generators_value_is_that_of_the_discriminator_after_its_steps(
    inner_rate: float,
) -> None:
    recipe = small(unrolled=3, inner_rate=inner_rate, learning_rate=1e-2)
    found = losses_of(recipe, batch_of(SAMPLES))["generator"].total
    critic = recipe.networks["discriminator"].requires_grad_(True)
    fake = drawn(recipe, "generator").detach()
    optimizer: torch.optim.Optimizer = torch.optim.SGD(critic.parameters(), lr=inner_rate)
    if not inner_rate:
        optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.5, 0.999))
    for _ in range(3):
        optimizer.zero_grad()
        (-value(recipe, fake)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(found, value(recipe, fake), rtol=1e-4, atol=1e-5)


def test_the_generators_gradient_passes_through_the_discriminators_steps() -> None:
    recipe = small(unrolled=2, inner_rate=0.5)
    generator = recipe.networks["generator"]
    bias = list(generator.parameters())[-1]
    losses_of(recipe, batch_of(SAMPLES))
    assert bias.grad is not None
    found = bias.grad[0].item()

    def moved(step: float) -> float:
        shifted = copy.deepcopy(recipe.networks)
        with torch.no_grad():
            list(shifted["generator"].parameters())[-1][0] += step
        return recipe.phases[1].loss(shifted, batch_of(SAMPLES)).total.item()

    assert found == pytest.approx((moved(1e-2) - moved(-1e-2)) / 2e-2, rel=2e-2)
    # There is a second term: the slope with the discriminator held where it ends is another.
    ordinary = small(unrolled=0)
    bias = list(ordinary.networks["generator"].parameters())[-1]
    losses_of(ordinary, batch_of(SAMPLES))
    assert bias.grad is not None and found != pytest.approx(bias.grad[0].item(), rel=2e-2)


def test_looking_ahead_leaves_the_discriminator_as_it_is() -> None:
    recipe = unrolled_gan(spec_of(squares()), width=4, noise_dim=3, unrolled=2)
    critic = recipe.networks["discriminator"].requires_grad_(False)
    before = {name: v.clone() for name, v in critic.state_dict().items()}
    pictures = torch.randn(4, 3, 16, 16)
    recipe.phases[1].loss(recipe.networks, batch_of(pictures)).total.backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(before[name], v) for name, v in critic.state_dict().items())
    assert all(w.grad is None for w in critic.parameters())


def test_the_discriminator_takes_one_ordinary_step_of_its_own() -> None:
    discriminator, generator = small().phases
    assert discriminator.steps == generator.steps == 1
    assert discriminator.optimizer == UnrolledAdam(1e-4, betas=(0.5, 0.999))
    assert generator.optimizer == Adam(1e-4, betas=(0.5, 0.999))


def test_points_take_two_hidden_layers_and_pictures_those_of_dcgan() -> None:
    points = unrolled_gan(replace(spec_of(ring()), sample_shape=(5,)), width=4, noise_dim=3)
    shapes = {
        name: [tuple(m.weight.shape) for m in network.modules() if isinstance(m, nn.Linear)]
        for name, network in points.networks.items()
    }
    assert shapes["generator"] == [(8, 3), (8, 8), (5, 8)]
    # What scores stands before what it scores.
    assert sorted(shapes["discriminator"]) == [(1, 8), (8, 5), (8, 8)]
    pictures = unrolled_gan(spec_of(squares()), width=4, noise_dim=3).networks
    assert all(
        any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in network.modules())
        for network in pictures.values()
    )


def test_rates_fall_to_nothing_in_the_second_half() -> None:
    for phase in small(decay_kimg=80.0).phases:
        assert phase.optimizer.schedule is not None
        rates = [phase.optimizer.schedule(kimg) for kimg in (0.0, 40.0, 50.0, 60.0, 80.0, 100.0)]
        assert rates == [1.0, 1.0, 0.75, 0.5, 0.0, 0.0]


def test_fewer_than_no_steps_are_refused() -> None:
    with pytest.raises(TrainingError, match="unrolled: is -1"):
        small(unrolled=-1)
