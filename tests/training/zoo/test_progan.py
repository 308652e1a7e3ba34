from __future__ import annotations

import pytest
import torch

from t2i.networks.progressive import as_grown
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.growth import level_of
from training.optimizers import Adam
from training.recipe import Recipe, Update
from training.registry import Spec
from training.zoo.progan import progan


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    return progan(spec_of(squares()), **{"width": 8, "noise_dim": 6, **changes})


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def grown(recipe: Recipe, level: float) -> Recipe:
    for player in recipe.networks:
        level_of(recipe.networks, player).fill_(level)
    return recipe


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0, 1.75, 2.0])
def test_losses_are_the_critics_estimate_the_penalty_and_the_drift(level: float) -> None:
    recipe = grown(small(penalty=3.0, drift=0.2), level)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(pictures()))
    real, fake, between, mine = scored.logits
    parts = losses["discriminator"].parts
    torch.testing.assert_close(parts["D/drift"], real.square().mean())
    expected = fake.mean() - real.mean() + 3.0 * parts["D/gradient_penalty"]
    expected = expected + 0.2 * real.square().mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.mean())
    assert len(between) == 4


def test_the_penalty_is_taken_between_fakes_and_what_is_shown_of_reals() -> None:
    recipe = grown(small(), 1.0)
    seen: list[torch.Tensor] = []
    hook = lambda module, inputs: seen.append(inputs[0].detach())  # noqa: E731
    recipe.networks["discriminator"].register_forward_pre_hook(hook)
    losses_of(recipe, batch_of(pictures()))
    real, _, between, _ = seen
    assert torch.equal(real, as_grown(pictures(), 1.0))
    # At level 1 of 2 all of it is made of blocks of two pixels.
    assert torch.equal(between[:, :, ::2, ::2], between[:, :, 1::2, 1::2])


def test_only_what_is_grown_learns() -> None:
    recipe = grown(small(), 1.0)
    losses_of(recipe, batch_of(pictures()))
    generator = recipe.networks["generator"]
    learning = {
        name.split(".")[0] + name.split(".")[1]
        for name, weight in generator.named_parameters()
        if weight.grad is not None and name.startswith(("blocks", "to_picture"))
    }
    assert learning == {"blocks0", "to_picture1"}


def test_each_discriminator_step_moves_both_players_to_the_level_of_its_kimg() -> None:
    recipe = small(stage_kimg=10.0)
    after = recipe.phases[0].after
    assert after is not None
    after(recipe.networks, Update(15.0, 0, {}))
    assert [float(level_of(recipe.networks, player)) for player in recipe.networks] == [0.5, 0.5]


def test_at_the_full_side_from_the_start_nothing_grows() -> None:
    recipe = small(grows=False)
    assert float(level_of(recipe.networks, "generator")) == 2.0
    losses_of(recipe, batch_of(pictures()))
    weights = recipe.networks["generator"].named_parameters()
    assert {name for name, w in weights if w.grad is None} == {
        f"to_picture.{k}.{part}" for k in (0, 1) for part in ("weight", "bias")
    }


def test_growing_begins_with_the_coarsest_side() -> None:
    recipe = small(stage_kimg=0.25)
    assert [float(level_of(recipe.networks, player)) for player in recipe.networks] == [0.0, 0.0]


def test_the_papers_settings_are_the_defaults() -> None:
    recipe = progan(Spec(32), width=4, noise_dim=4)
    assert recipe.phases[0].optimizer == Adam(1e-3, betas=(0.0, 0.99))
    assert recipe.phases[0].steps == 1 and recipe.batch_size == 16 and recipe.joins_late
    assert recipe.ema is not None and recipe.ema.half_life == pytest.approx(11, abs=1)


def test_points_are_refused() -> None:
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        progan(spec_of(ring()))
