from __future__ import annotations

import pytest
import torch

from t2i.networks.base import PictureGenerator
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from tests.training.zoo.test_cgan import LABELS, SAMPLES
from training.errors import TrainingError
from training.latent_search import preserve_identity
from training.recipe import Recipe
from training.registry import Spec
from training.zoo.acgan_age import acgan_age, encode


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return acgan_age(spec_of(ring()), width=4, noise_dim=3, **knobs)


def test_the_encoder_learns_the_noise_of_what_was_drawn_and_nothing_else_learns_from_it() -> None:
    recipe, batch = small(), batch_of(SAMPLES, LABELS)
    seen = []
    recipe.networks["encoder"].register_forward_hook(
        lambda module, inputs, out: seen.append((inputs[0], out.classes.detach()))
    )
    # `losses_of` holds that a phase's gradient reaches its player and no other.
    loss = losses_of(recipe, batch)["encoder"].total.detach()
    ((drawn, answer),) = seen
    noise = batch.noise.normal("encoder", 3)
    assert not drawn.requires_grad
    torch.testing.assert_close(loss, (answer - noise).square().sum(1).mean())


def test_the_encoder_learns_from_the_kimg_that_is_asked() -> None:
    phase = small(encoder_start=2.0).phases[-1]
    assert phase.active is not None
    assert not phase.active(1.9) and phase.active(2.0)


class Linear(PictureGenerator):
    """x = Wz + age: the noise of each picture is known."""

    def __init__(self) -> None:
        super().__init__(condition_dim=2, noise_dim=2, resolutions=(), config={})
        self.register_buffer("weight", torch.tensor([[2.0, 0.0], [1.0, 0.5]]))

    def draw(self, embedding: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        moved = noise @ self.get_buffer("weight").t() + embedding
        assert isinstance(moved, torch.Tensor)
        return moved


def test_the_search_finds_the_noise_of_each_picture_under_its_own_age() -> None:
    generator, ages = Linear(), torch.eye(2)[[0, 1, 1]]
    true = torch.tensor([[1.0, -1.0], [0.5, 2.0], [-1.5, 0.0]])
    pictures = generator(ages, true).pictures[-1]
    found = preserve_identity(generator, lambda x: x, pictures, ages, torch.zeros(3, 2), steps=60)
    torch.testing.assert_close(found, true, atol=1e-3, rtol=0)


def test_the_search_never_leaves_a_picture_worse_than_it_was() -> None:
    generator, ages = Linear(), torch.eye(2)[[0, 1]]
    start = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    pictures = generator(ages, start).pictures[-1]
    found = preserve_identity(generator, torch.sin, pictures, ages, start, steps=3)
    assert torch.equal(found, start)


def test_what_the_recogniser_does_not_see_is_left_alone() -> None:
    generator, ages = Linear(), torch.eye(2)[[0]]
    pictures = torch.tensor([[3.0, 9.0]])
    found = preserve_identity(generator, lambda x: x[:, :1], pictures, ages, torch.zeros(1, 2))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]), atol=1e-3, rtol=0)


def test_the_encoder_answers_with_noise_of_the_generators_length() -> None:
    assert encode(small().networks, SAMPLES).shape == (4, 3)


def test_data_without_ages_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        acgan_age(Spec(32))
