from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks import CaptionCritic, FusionCritic, FusionGenerator
from t2i.networks.blocks import Standardize
from t2i.networks.deep_fusion import Affine
from tests.training.zoo.moves import losses_of
from tests.training.zoo.samples import captioned_batch, captioned_spec, ring, spec_of
from training.errors import TrainingError
from training.recipe import Recipe
from training.registry import Spec
from training.regularizers import MatchingAwarePenalty, Play
from training.zoo.df_gan import df_gan


def small(**changes: Any) -> Recipe:
    torch.manual_seed(0)
    return df_gan(captioned_spec(), **{"width": 4, "generator_width": 4, "noise_dim": 5, **changes})


def test_the_losses_are_the_hinges_of_the_three_pairs_and_the_penalty() -> None:
    recipe, batch = small(penalty=3.0), captioned_batch()
    pairs: list[Tensor] = []
    recipe.networks["discriminator"].score.register_forward_hook(  # type: ignore[union-attr]
        lambda module, given, out: pairs.append(out.detach().squeeze(1))
    )
    losses = losses_of(recipe, batch)
    both, fake, again, mine = pairs
    right, wrong = both.split(len(batch))
    torch.testing.assert_close(again, right)
    parts = losses["discriminator"].parts
    expected = F.relu(1 - right).mean()
    expected = expected + 0.5 * (F.relu(1 + wrong).mean() + F.relu(1 + fake).mean())
    expected = expected + 3.0 * parts["D/matching_aware_penalty"]
    assert float(parts["D/matching_aware_penalty"]) > 0
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.mean())


class Linear(CaptionCritic):
    """D(x, e) = v·x + w·e, whose gradients are v and w everywhere."""

    def __init__(self, v: Tensor, w: Tensor) -> None:
        super().__init__(
            trunk=nn.Identity(),
            shape=(len(v), 1),
            condition_dim=len(w),
            code_dim=0,
            join=nn.Identity(),
            joined=len(v) + len(w),
        )
        with torch.no_grad():
            self.score.weight.copy_(torch.cat([v, w])[None])


def test_the_penalty_of_a_linear_critic_is_the_power_of_its_slope() -> None:
    critic = Linear(torch.tensor([1.0, 2.0]), torch.tensor([2.0]))
    batch = captioned_batch()
    move = Play(
        {"discriminator": critic},
        batch=type(batch)(torch.randn(4, 2, 1, 1), batch.noise, 0.0),
        fake=torch.zeros(4, 2, 1, 1),
        condition=torch.randn(4, 1),
        noise=torch.zeros(4, 1),
    )
    # ‖(1, 2, 2)‖ = 3.
    for power, expected in ((6.0, 729.0), (2.0, 9.0)):
        penalty = MatchingAwarePenalty(2.0, power=power).loss(move)
        assert penalty.item() == pytest.approx(expected)


def test_the_penalty_is_taken_at_real_pictures_with_their_own_captions() -> None:
    recipe, batch = small(), captioned_batch()
    critic = recipe.networks["discriminator"]
    assert isinstance(critic, FusionCritic)
    shown: list[Tensor] = []
    read: list[Tensor] = []
    critic.trunk.register_forward_pre_hook(lambda module, given: shown.append(given[0].detach()))
    critic.read.register_forward_pre_hook(lambda module, given: read.append(given[0].detach()))
    recipe.phases[0].loss(recipe.networks, batch)
    assert torch.equal(shown[-1], batch.pictures) and torch.equal(read[-1], batch.right)


def test_a_lazy_penalty_weighs_as_many_times_more() -> None:
    recipe = small(penalty=2e3, penalty_every=2)
    often = [recipe.phases[0].loss(recipe.networks, captioned_batch(step=k)) for k in (0, 1)]
    assert "D/matching_aware_penalty" not in often[1].parts
    parts = often[0].parts
    weight = (often[0].total.detach() - parts["D/adversarial"]) / parts["D/matching_aware_penalty"]
    assert float(weight) == pytest.approx(4e3, rel=1e-3)


def test_the_penalty_comes_back_at_every_so_many_steps_and_has_the_power_asked_for() -> None:
    recipe = small(penalty=1.0, penalty_every=3)
    told = [
        recipe.phases[0].loss(recipe.networks, replace(captioned_batch(), step=step)).parts
        for step in range(4)
    ]
    assert ["D/matching_aware_penalty" in parts for parts in told] == [True, False, False, True]
    squared, sixth = (
        small(power=power).phases[0].loss(small().networks, captioned_batch(1)).parts
        for power in (2.0, 6.0)
    )
    name = "D/matching_aware_penalty"
    torch.testing.assert_close(squared[name] ** 3, sixth[name])


def test_players_are_as_wide_as_asked_and_standardise_captions() -> None:
    recipe = small()
    generator, critic = recipe.networks["generator"], recipe.networks["discriminator"]
    assert isinstance(generator, FusionGenerator) and generator.config["width"] == 4
    assert isinstance(critic, FusionCritic)
    first = next(m for m in critic.modules() if isinstance(m, nn.Conv2d))
    assert first.out_channels == 4
    embeddings = torch.randn(50, captioned_batch().right.shape[1]) + 3.0
    assert recipe.fit is not None
    recipe.fit(embeddings)
    for network in (generator, critic):
        (standardize,) = (m for m in network.modules() if isinstance(m, Standardize))
        torch.testing.assert_close(standardize.mean, embeddings.mean(0))


def test_the_fusion_starts_as_the_identity_and_takes_noise_and_caption() -> None:
    x, condition = torch.randn(2, 3, 4, 4), torch.randn(2, 5)
    assert torch.equal(Affine(5, 3)(x, condition), x)
    generator = small().networks["generator"]
    assert isinstance(generator, FusionGenerator)
    sizes = {m.scale[0].in_features for m in generator.modules() if isinstance(m, Affine)}
    assert sizes == {5 + 6}


def test_the_critic_has_one_score_and_no_norm() -> None:
    critic = small().networks["discriminator"]
    assert isinstance(critic, FusionCritic) and critic.score_alone is None
    assert not any("Norm" in type(module).__name__ for module in critic.modules())


def test_the_generator_begins_at_four_pixels_with_eight_times_the_width() -> None:
    recipe = df_gan(Spec(64, condition_dim=6))
    generator = recipe.networks["generator"]
    assert isinstance(generator, FusionGenerator)
    assert generator.start_shape == (256, 4, 4) and generator.last.in_channels == 32
    assert recipe.ema is not None and recipe.ema.decay(1e6, 32) == pytest.approx(0.999, abs=1e-5)


def test_data_without_captions_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        df_gan(Spec(32))
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        df_gan(spec_of(ring()))
