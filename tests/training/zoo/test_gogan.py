from __future__ import annotations

import pytest
import torch

from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.ranking import Earlier
from training.recipe import Recipe, Update
from training.zoo.gogan import gogan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def small(stages: int = 3) -> Recipe:
    torch.manual_seed(0)
    return gogan(
        spec_of(ring()),
        stages=stages,
        stage_kimg=2.0,
        margin=0.3,
        ranking=0.7,
        width=4,
        noise_dim=3,
    )


def earlier_of(recipe: Recipe) -> Earlier:
    earlier = recipe.networks["rank"]
    assert isinstance(earlier, Earlier)
    return earlier


def after(recipe: Recipe, kimg: float) -> None:
    hook = recipe.phases[0].after
    assert hook is not None
    with torch.no_grad():
        hook(recipe.networks, Update(kimg, 0, {}))


def test_the_first_stage_is_a_wasserstein_gan_with_a_margin() -> None:
    recipe = small()
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = scored.logits
    expected = (fake + 0.3 - real).clamp(min=0).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.mean())


def test_later_stages_add_the_rank_above_the_stage_before() -> None:
    recipe = small()
    earlier = earlier_of(recipe)
    earlier.follow(recipe.networks)
    with torch.no_grad():
        for weight in recipe.networks["discriminator"].parameters():
            weight.add_(0.05)
    scored = Scored(recipe)
    batch = batch_of(SAMPLES)
    losses = losses_of(recipe, batch)
    real, fake, _ = scored.logits
    with torch.no_grad():
        noise = batch.noise.normal("discriminator", 3)
        drawn = earlier["generator"](torch.zeros(4, 0), noise).pictures[-1]
        before = earlier["discriminator"](drawn).logits
    expected = (fake + 0.3 - real).clamp(min=0).mean()
    expected = expected + 0.7 * (before + 0.6 - real).clamp(min=0).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    assert all(weight.grad is None for weight in earlier.parameters())


def test_a_stage_begins_as_a_copy_of_the_one_before_at_its_time_and_no_more_than_asked() -> None:
    recipe = small(stages=2)
    earlier = earlier_of(recipe)
    after(recipe, 1.9)
    assert earlier.stage == 0
    after(recipe, 2.0)
    assert earlier.stage == 1
    for name, player in earlier.items():
        for key, value in recipe.networks[name].state_dict().items():
            assert torch.equal(player.state_dict()[key], value)
    after(recipe, 100.0)
    assert earlier.stage == 1


def test_the_critics_weights_are_clipped() -> None:
    recipe = small()
    after(recipe, 0.0)
    weights = recipe.networks["discriminator"].parameters()
    assert max(float(w.detach().abs().max()) for w in weights) == pytest.approx(0.01)


def test_no_stage_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"stages: are 0 of 2.0 kimg; give 1 or more"):
        small(stages=0)
