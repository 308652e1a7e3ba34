from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.networks.caption_critic import CaptionCritic
from tests.training.zoo.moves import Scored, losses_of
from tests.training.zoo.samples import captioned_batch, captioned_spec, ring, spec_of
from training.errors import TrainingError
from training.recipe import Recipe
from training.registry import Spec
from training.zoo.gan_cls import gan_cls


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    knobs = {"width": 4, "generator_width": 4, "noise_dim": 5, "code_dim": 3}
    return gan_cls(captioned_spec(), **{**knobs, **changes})


def test_the_losses_are_those_of_the_three_pairs() -> None:
    recipe, batch = small(), captioned_batch()
    scored = Scored(recipe)
    losses = losses_of(recipe, batch)
    n = len(batch)
    (right, wrong), fake, mine = scored.logits[0].split(n), scored.logits[1], scored.logits[-1]
    # -log σ(x) = softplus(-x) and -log(1 - σ(x)) = softplus(x).
    expected = F.softplus(-right).mean()
    expected = expected + 0.5 * (F.softplus(wrong).mean() + F.softplus(fake).mean())
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), F.softplus(-mine).mean())
    parts = losses["discriminator"].parts
    torch.testing.assert_close(parts["D/wrong"], wrong.mean())
    torch.testing.assert_close(parts["D/real"], right.mean())


def test_the_critic_sees_real_pictures_with_right_then_wrong_captions() -> None:
    recipe, batch = small(), captioned_batch()
    asked: list[tuple[Tensor, Tensor]] = []
    recipe.networks["discriminator"].register_forward_pre_hook(
        lambda module, given: asked.append((given[0].detach(), given[1]))
    )
    losses_of(recipe, batch)
    assert torch.equal(asked[0][0], batch.pictures)
    assert torch.equal(asked[0][1], torch.cat([batch.right, batch.wrong]))
    assert all(torch.equal(captions, batch.right) for _, captions in asked[1:])


def test_pairs_of_one_picture_are_judged_each_by_its_own_caption() -> None:
    critic = small().networks["discriminator"].eval()
    assert isinstance(critic, CaptionCritic)
    batch = captioned_batch()
    both = critic(batch.pictures, torch.cat([batch.right, batch.wrong])).logits
    torch.testing.assert_close(both[: len(batch)], critic(batch.pictures, batch.right).logits)
    torch.testing.assert_close(both[len(batch) :], critic(batch.pictures, batch.wrong).logits)
    assert (both[: len(batch)] != both[len(batch) :]).all()


def test_captions_are_standardised_by_the_runs_own_statistics() -> None:
    recipe = small()
    assert recipe.fit is not None
    recipe.fit(torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) * 3 + 7)
    for network in recipe.networks.values():
        read = network.get_submodule("read.0")
        assert float(read.get_buffer("mean").mean()) == pytest.approx(7, abs=0.3)


def test_data_without_captions_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        gan_cls(Spec(32))
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        gan_cls(spec_of(ring()))
