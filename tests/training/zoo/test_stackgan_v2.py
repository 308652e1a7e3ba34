from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.networks import Drawn, TreeGenerator
from tests.training.zoo.moves import losses_of
from tests.training.zoo.samples import captioned_batch, captioned_spec, ring, spec_of
from tests.training.zoo.watched import Watched
from training.errors import TrainingError
from training.objectives import colour_consistency, conditioning_kl
from training.recipe import Recipe
from training.registry import Spec
from training.stages import at_side
from training.zoo.stackgan_v2 import stackgan_v2


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    knobs: dict[str, Any] = {"width": 4, "generator_width": 4, "noise_dim": 5, "scales": 2}
    return stackgan_v2(captioned_spec(), **{**knobs, "conditioning_dim": 4, **changes})


def tree_of(recipe: Recipe) -> TreeGenerator:
    tree = recipe.networks["generator"]
    assert isinstance(tree, TreeGenerator)
    return tree


def test_every_scale_is_judged_with_its_caption_and_without() -> None:
    recipe, batch = small(kl_weight=3.0, colour_weight=2.0), captioned_batch()
    seen = Watched(recipe)
    losses = losses_of(recipe, batch)
    picture = pair = mine_alone = mine_paired = torch.zeros(())
    for scale in range(2):
        real, fake, mine = seen.alone[scale]
        picture = picture + F.softplus(-real).mean() + F.softplus(fake).mean()
        mine_alone = mine_alone + F.softplus(-mine).mean()
        both, fake, mine = seen.paired[scale]
        right, wrong = both.split(len(batch))
        pair = pair + F.softplus(-right).mean() + F.softplus(wrong).mean()
        pair = pair + F.softplus(fake).mean()
        mine_paired = mine_paired + F.softplus(-mine).mean()
    found = losses["discriminator"]
    torch.testing.assert_close(found.parts["D/picture"], picture)
    torch.testing.assert_close(found.parts["D/pair"], pair)
    torch.testing.assert_close(found.total.detach(), picture + pair)
    move = seen.drawn[-1]
    kl = conditioning_kl(move.mu, move.log_sigma).detach()
    colour = colour_consistency(move.pictures[1], move.pictures[0]).detach()
    expected = mine_alone + mine_paired + 3.0 * kl + 2.0 * colour
    torch.testing.assert_close(losses["generator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].parts["G/colour"], colour)


def test_critics_see_the_mean_of_the_conditioning_and_pictures_of_their_side() -> None:
    recipe, batch = small(), captioned_batch()
    seen, tree = Watched(recipe), tree_of(recipe)
    right, wrong = tree.mean(batch.right).detach(), tree.mean(batch.wrong).detach()
    losses_of(recipe, batch)
    for scale, side in enumerate((8, 16)):
        assert torch.equal(seen.shown[scale][0], at_side(batch.pictures, side))
        assert torch.equal(seen.shown[scale][1], seen.drawn[0].pictures[scale])
        torch.testing.assert_close(seen.read[scale][0], torch.cat([right, wrong]))
        torch.testing.assert_close(seen.read[scale][1], right)
        torch.testing.assert_close(seen.read[scale][2], right)


def test_colours_agree_when_mean_and_covariance_do() -> None:
    coarse = torch.zeros(1, 3, 2, 2)
    coarse[0, 0, :, 0] = 1.0
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert float(colour_consistency(fine, coarse)) == 0.0
    # Means differ by 1 in one colour; nothing varies.
    flat, bright = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 4, 4)
    bright[:, 1] = 1.0
    assert float(colour_consistency(bright, flat)) == 1.0
    # Red is 0 or 1, half of the time each: its variance is 1/4, nothing covaries.
    half = flat.clone()
    half[:, 0] = 0.5
    assert float(colour_consistency(fine, half)) == pytest.approx(5.0 / 16)
    assert float(colour_consistency(fine, half, 2.0)) == pytest.approx(2.0 / 16)


def test_only_the_finer_picture_is_asked_to_change_its_colours() -> None:
    fine, coarse = (torch.rand(2, 3, side, side, requires_grad=True) for side in (8, 4))
    colour_consistency(fine, coarse).backward()  # type: ignore[no-untyped-call]
    assert fine.grad is not None and coarse.grad is None


def test_every_scale_but_the_first_pays_for_its_colours_and_the_coarser_does_not() -> None:
    batch = captioned_batch()
    spec = replace(captioned_spec(), resolution=32)
    slopes = []
    for weight in (0.0, 7.0):
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"width": 4, "generator_width": 4, "noise_dim": 5, "scales": 3}
        recipe = stackgan_v2(spec, **sizes, conditioning_dim=4, colour_weight=weight)
        kept: list[Drawn] = []

        def keep(module: object, given: object, out: Drawn, kept: list[Drawn] = kept) -> None:
            for picture in out.pictures:
                picture.retain_grad()
            kept.append(out)

        recipe.networks["generator"].register_forward_hook(keep)
        losses = recipe.phases[1].loss(recipe.networks, batch)
        losses.total.backward()  # type: ignore[no-untyped-call]
        (drawn,) = kept
        slopes.append([cast(Tensor, picture.grad) for picture in drawn.pictures])
    coarse, middle, fine = drawn.pictures
    colour = colour_consistency(middle, coarse) + colour_consistency(fine, middle)
    torch.testing.assert_close(losses.parts["G/colour"], colour.detach())
    changed = [not torch.equal(without, paid) for without, paid in zip(*slopes, strict=True)]
    assert changed == [False, True, True]


def test_each_scale_has_half_the_side_of_the_next() -> None:
    recipe = stackgan_v2(Spec(64, condition_dim=6), width=4, generator_width=4)
    assert tree_of(recipe).resolutions == (16, 32, 64)
    assert recipe.ema is not None and recipe.ema.decay(1e6, 24) == pytest.approx(0.999, abs=1e-5)


def test_data_and_scales_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TrainingError, match="16 pixels cannot be halved 2 times"):
        small(scales=3)
    with pytest.raises(TrainingError, match="the data has none"):
        stackgan_v2(Spec(32))
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        stackgan_v2(spec_of(ring()))
