from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.networks import RecurrentGenerator
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.recipe import Recipe
from training.zoo.gran import gran


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    knobs = {"width": 2, "generator_width": 2, "noise_dim": 3, "hidden_dim": 4}
    return gran(spec_of(squares()), **{**knobs, **changes})


def generator_of(recipe: Recipe) -> RecurrentGenerator:
    generator = recipe.networks["generator"]
    assert isinstance(generator, RecurrentGenerator)
    return generator


def pictures() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_losses_are_the_first_gans_without_saturation() -> None:
    recipe = small()
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(pictures()))
    real, fake, mine = scored.logits
    expected = F.softplus(-real).mean() + F.softplus(fake).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), F.softplus(-mine).mean())


def test_the_recurrence_is_section_3_1_step_by_step() -> None:
    generator = generator_of(small(steps=3)).eval()
    noise = torch.randn(2, 3)
    with torch.no_grad():
        hidden = torch.tanh(generator.start(noise))
        first = generator.decode(torch.cat([hidden, torch.zeros(2, 4)], dim=1))
        second = generator.decode(torch.cat([hidden, generator.encode(first)], dim=1))
        third = generator.decode(torch.cat([hidden, generator.encode(second)], dim=1))
        picture = generator(torch.zeros(2, 0), noise).pictures[-1]
        canvases = generator.canvases(noise)
    torch.testing.assert_close(picture, torch.tanh(first + second + third))
    torch.testing.assert_close(canvases[1], torch.tanh(first + second))
    assert len(canvases) == 3


def test_every_step_has_the_same_weights() -> None:
    def count(steps: int) -> int:
        return sum(w.numel() for w in generator_of(small(steps=steps)).parameters())

    assert count(2) == count(5) > count(1)


def test_the_gradient_reaches_the_encoder_through_the_later_steps_alone() -> None:
    recipe = small(steps=2)
    losses_of(recipe, batch_of(pictures()))
    weights = dict(generator_of(recipe).encode.named_parameters())
    grads = [w.grad for w in weights.values() if w.grad is not None]
    assert any(bool(grad.abs().sum() > 0) for grad in grads)
    assert not list(generator_of(small(steps=1)).encode.parameters())


def test_grey_pictures_are_drawn_grey() -> None:
    spec = replace(spec_of(squares()), channels=1)
    generator = gran(spec, width=4, generator_width=4).networks["generator"]
    assert isinstance(generator, RecurrentGenerator)
    with torch.no_grad():
        drawn = generator(torch.zeros(2, 0), torch.zeros(2, generator.noise_dim))
    assert drawn.pictures[-1].shape == (2, 1, 16, 16)


def test_no_steps_and_points_are_refused() -> None:
    with pytest.raises(TrainingError, match="steps: is 0; give 1 or more"):
        small(steps=0)
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        gran(spec_of(ring()))
