from __future__ import annotations

import pytest
import torch
from torch import nn

from t2i.networks.base import PictureGenerator
from t2i.networks.levels import LevelGenerator
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.recipe import Adam, Recipe
from training.zoo.bs_gan import bs_gan


def small(draws: int = 3, levels: int = 2) -> Recipe:
    torch.manual_seed(0)
    return bs_gan(spec_of(squares()), draws=draws, levels=levels, width=4, noise_dim=5)


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Seen:
    """Keeps what the critic was shown."""

    def __init__(self, recipe: Recipe) -> None:
        self.samples: list[torch.Tensor] = []
        recipe.networks["discriminator"].register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.samples.append(inputs[0])


@pytest.mark.parametrize("levels", [2, 3])
def test_the_generators_loss_weighs_the_log_likelihood_of_its_draws(levels: int) -> None:
    recipe = small(levels=levels)
    scored, seen = Scored(recipe), Seen(recipe)
    batch = batch_of(pictures())
    losses = losses_of(recipe, batch)
    drawer = recipe.networks["generator"]
    assert isinstance(drawer, LevelGenerator)
    drawn = seen.samples[-1].unflatten(0, (4, 3))
    weights = scored.logits[-1].reshape(4, 3).exp()
    weights = weights / weights.sum(dim=1, keepdim=True)
    with torch.no_grad():
        chances = drawer.log_chances(batch.noise.normal("generator", 5)).exp()
    expected = 0.0
    for row in range(4):
        for m in range(3):
            number = ((drawn[row, m] + 1) * (levels - 1) / 2).round().long()
            likely = chances[row].gather(0, number[None])[0]
            expected -= float(weights[row, m] * likely.log().sum()) / 4
    assert losses["generator"].total.item() == pytest.approx(expected, rel=1e-4)


def test_both_sides_that_the_critic_sees_are_discrete_and_its_loss_the_first_gans() -> None:
    recipe = small()
    scored, seen = Scored(recipe), Seen(recipe)
    losses = losses_of(recipe, batch_of(pictures()))
    real, fake = (torch.sigmoid(logits) for logits in scored.logits[:2])
    value = real.log().mean() + (1 - fake).log().mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), -value)
    parts = losses["discriminator"].parts
    torch.testing.assert_close(parts["D/real"], scored.logits[0].mean())
    torch.testing.assert_close(parts["D/fake"], scored.logits[1].mean())
    assert all(set(each.unique().tolist()) == {-1.0, 1.0} for each in seen.samples)
    assert torch.equal(seen.samples[0] > 0, pictures() > 0)


def test_the_policy_gradient_raises_the_chance_of_what_the_critic_prefers() -> None:
    recipe = small(draws=16)
    drawer, critic = recipe.networks["generator"], recipe.networks["discriminator"]
    assert isinstance(drawer, LevelGenerator)

    # A critic that likes white pixels.
    def likes_white(module: nn.Module, inputs: tuple[torch.Tensor, ...], scores: object) -> object:
        return scores._replace(logits=inputs[0].flatten(1).sum(dim=1))  # type: ignore[attr-defined]

    critic.register_forward_hook(likes_white)
    batch = batch_of(pictures())
    source = batch.noise.normal("generator", 5)
    before = drawer.log_chances(source).exp()[:, 1].mean().item()
    step = torch.optim.SGD(drawer.parameters(), lr=1e-3)
    step.zero_grad()
    recipe.phases[1].loss(recipe.networks, batch).total.backward()  # type: ignore[no-untyped-call]
    step.step()
    assert drawer.log_chances(source).exp()[:, 1].mean().item() > before


def test_draws_that_the_critic_cannot_tell_apart_all_count() -> None:
    recipe = small(draws=7)
    score = recipe.networks["discriminator"].score
    assert isinstance(score, nn.Linear)
    nn.init.zeros_(score.weight)
    parts = recipe.phases[1].loss(recipe.networks, batch_of(pictures())).parts
    assert parts["G/draws_that_count"].item() == pytest.approx(7.0)


def test_continuous_samples_seek_the_boundary_itself() -> None:
    recipe = bs_gan(spec_of(ring()), levels=0, width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(torch.eye(2)))
    mine = torch.sigmoid(scored.logits[-1])
    expected = 0.5 * (mine.log() - (1 - mine).log()).square().mean()
    torch.testing.assert_close(losses["generator"].total.detach(), expected)


def test_continuous_data_is_learned_with_what_was_asked_for() -> None:
    recipe = bs_gan(
        spec_of(squares()),
        levels=0, width=4, noise_dim=3, norm=False, learning_rate=3e-4, batch_size=7,
    )  # fmt: skip
    assert recipe.batch_size == 7
    assert all(phase.optimizer == Adam(3e-4, betas=(0.5, 0.999)) for phase in recipe.phases)
    generator = recipe.networks["generator"]
    assert isinstance(generator, PictureGenerator) and generator.noise_dim == 3
    assert generator.config["width"] == 4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in generator.modules())


def test_levels_of_points_and_single_draws_are_refused() -> None:
    assert small(draws=2).batch_size > 0
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        bs_gan(spec_of(ring()))
    with pytest.raises(TrainingError, match="draws: is 1; give 2 or more"):
        bs_gan(spec_of(squares()), draws=1)
    with pytest.raises(TrainingError, match="levels: is 1; give 2 or more"):
        bs_gan(spec_of(squares()), levels=1)


@pytest.mark.parametrize(
    ("levels", "players"), [(2, {"generator"}), (0, {"generator", "discriminator"})]
)
def test_the_discriminator_of_discrete_pictures_has_no_batchnorm(
    levels: int, players: set[str]
) -> None:
    networks = small(levels=levels).networks
    normed = {
        name
        for name in networks
        if any(isinstance(module, nn.BatchNorm2d) for module in networks[name].modules())
    }
    assert normed == players
