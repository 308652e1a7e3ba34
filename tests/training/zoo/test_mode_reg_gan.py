from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.conftest import squares
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of, trainer_of
from training.recipe import Recipe
from training.zoo.mode_reg_gan import mode_reg_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def small(*, manifold_diffusion: bool) -> Recipe:
    torch.manual_seed(0)
    return mode_reg_gan(
        spec_of(ring()),
        manifold_diffusion=manifold_diffusion,
        reconstruction=3.0,
        modes=0.5,
        width=4,
        noise_dim=3,
    )


def test_all_players_are_as_wide_as_asked() -> None:
    players = small(manifold_diffusion=True).networks
    widest = {
        name: max(m.out_features for m in player.modules() if isinstance(m, nn.Linear))
        for name, player in players.items()
    }
    assert set(widest) == {"generator", "encoder", "discriminator", "manifold_discriminator"}
    assert set(widest.values()) == {8}


def drawn(recipe: Recipe, name: str) -> Tensor:
    noise = batch_of(SAMPLES).noise.normal(name, 3)
    fake: Tensor = recipe.networks["generator"](torch.zeros(4, 0), noise).pictures[-1]
    return fake


def rebuilt(recipe: Recipe) -> Tensor:
    code = recipe.networks["encoder"](SAMPLES).class_logits
    again: Tensor = recipe.networks["generator"](torch.zeros(4, 0), code).pictures[-1]
    return again


def probability(recipe: Recipe, judge: str, samples: Tensor) -> Tensor:
    return torch.sigmoid(recipe.networks[judge](samples).logits)


def test_reg_gan_adds_reconstruction_and_the_modes_that_are_missed() -> None:
    recipe = small(manifold_diffusion=False)
    found = losses_of(recipe, batch_of(SAMPLES))
    assert list(found) == ["discriminator", "generator+encoder"]
    real, fake = SAMPLES, drawn(recipe, "discriminator")
    value = (
        probability(recipe, "discriminator", real).log().mean()
        + (1 - probability(recipe, "discriminator", fake)).log().mean()
    )
    torch.testing.assert_close(found["discriminator"].total, -value)
    again = rebuilt(recipe)
    expected = (
        -probability(recipe, "discriminator", drawn(recipe, "generator")).log().mean()
        + 3.0 * F.mse_loss(again, SAMPLES)
        - 0.5 * probability(recipe, "discriminator", again).log().mean()
    )
    torch.testing.assert_close(found["generator+encoder"].total, expected)


def test_mdgan_takes_the_manifold_step_and_then_the_diffusion_step() -> None:
    recipe = small(manifold_diffusion=True)
    found = losses_of(recipe, batch_of(SAMPLES))
    assert list(found) == [
        "manifold_discriminator",
        "generator+encoder",
        "discriminator",
        "generator",
    ]
    again = rebuilt(recipe)
    first = (
        probability(recipe, "manifold_discriminator", SAMPLES).log().mean()
        + (1 - probability(recipe, "manifold_discriminator", again)).log().mean()
    )
    torch.testing.assert_close(found["manifold_discriminator"].total, -first)
    held = (
        3.0 * F.mse_loss(again, SAMPLES)
        - probability(recipe, "manifold_discriminator", again).log().mean()
    )
    torch.testing.assert_close(found["generator+encoder"].total, held)
    second = (
        probability(recipe, "discriminator", again).log().mean()
        + (1 - probability(recipe, "discriminator", drawn(recipe, "discriminator"))).log().mean()
    )
    torch.testing.assert_close(found["discriminator"].total, -second)
    own = -probability(recipe, "discriminator", drawn(recipe, "generator")).log().mean()
    torch.testing.assert_close(found["generator"].total, own)


@pytest.mark.parametrize("term", ["reconstruction", "modes"])
def test_each_term_alone_reaches_the_encoder(term: str) -> None:
    weights = {"reconstruction": 0.0, "modes": 0.0, term: 1.0}
    recipe = mode_reg_gan(spec_of(ring()), width=4, noise_dim=3, **weights)
    recipe.phases[1].loss(recipe.networks, batch_of(SAMPLES)).total.backward()  # type: ignore[no-untyped-call]
    head = recipe.networks["encoder"].get_parameter("head.weight")
    assert head.grad is not None and head.grad.abs().sum() > 0


def test_mdgan_trains_on_pictures(tmp_path: Path) -> None:
    data = squares()
    recipe = mode_reg_gan(
        spec_of(data), manifold_diffusion=True, width=4, noise_dim=3, batch_size=8
    )
    reports = list(trainer_of(recipe, data, tmp_path, kimg=0.016).train())
    assert all(torch.isfinite(torch.tensor(value)) for value in reports[-1].losses.values())
