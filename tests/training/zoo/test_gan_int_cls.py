from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.training.zoo.moves import Scored, losses_of
from tests.training.zoo.samples import captioned_batch, captioned_spec
from training.recipe import Recipe
from training.zoo.gan_int_cls import gan_int_cls


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    knobs = {"width": 4, "generator_width": 4, "noise_dim": 5, "code_dim": 3}
    return gan_int_cls(captioned_spec(), **{**knobs, **changes})


def test_the_generator_is_also_judged_on_captions_between_captions() -> None:
    recipe, batch = small(share=0.25, interpolation_weight=3.0), captioned_batch()
    scored = Scored(recipe)
    losses = losses_of(recipe, batch)
    real, fake, mine, between = scored.logits
    (right, wrong) = real.split(len(batch))
    expected = F.softplus(-right).mean()
    expected = expected + 0.5 * (F.softplus(wrong).mean() + F.softplus(fake).mean())
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    expected = F.softplus(-mine).mean() + 3.0 * F.softplus(-between).mean()
    torch.testing.assert_close(losses["generator"].total.detach(), expected)


def test_the_caption_between_two_is_drawn_with_the_same_noise_and_judged_as_itself() -> None:
    recipe, batch = small(share=0.25), captioned_batch()
    drawn: list[tuple[Tensor, Tensor]] = []
    judged: list[Tensor] = []
    recipe.networks["generator"].register_forward_pre_hook(
        lambda module, given: drawn.append((given[0], given[1]))
    )
    recipe.networks["discriminator"].register_forward_pre_hook(
        lambda module, given: judged.append(given[1])
    )
    losses_of(recipe, batch)
    expected = 0.25 * batch.right + 0.75 * batch.right.roll(1, dims=0)
    _, (own, noise), (between, again), _ = drawn
    assert torch.equal(own, batch.right) and torch.equal(noise, again)
    torch.testing.assert_close(between, expected)
    torch.testing.assert_close(judged[-1], expected)


def test_the_style_encoder_learns_the_noise_of_what_was_drawn() -> None:
    recipe, batch = small(), captioned_batch()
    seen: list[tuple[Tensor, Tensor]] = []
    recipe.networks["style"].register_forward_hook(
        lambda module, given, out: seen.append((given[0], out.classes.detach()))
    )
    asked: list[Tensor] = []
    recipe.networks["generator"].register_forward_hook(
        lambda module, given, out: asked.append(given[0])
    )
    # `losses_of` holds that a phase's gradient reaches its player and no other.
    loss = losses_of(recipe, batch)["style"].total.detach()
    ((drawn, answer),) = seen
    assert torch.equal(asked[-1], batch.right)
    noise = batch.noise.normal("style", 5)
    assert not drawn.requires_grad
    torch.testing.assert_close(loss, (answer - noise).square().sum(dim=1).mean())
