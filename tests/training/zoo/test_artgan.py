from __future__ import annotations

import pytest
import torch

from tests.training.conftest import squares
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from tests.training.zoo.told import Told
from training.classes import drawn_labels
from training.errors import TrainingError
from training.recipe import Batch, Recipe
from training.shared_autoencoder import reconstructed
from training.zoo.artgan import artgan

LABELS = torch.tensor([0, 1, 2, 0])


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return artgan(spec_of(squares()), width=4, noise_dim=3, **knobs)


def batch() -> Batch:
    pictures = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return batch_of(pictures, LABELS)


def test_discriminator_names_classes_of_data_and_fake_of_fakes() -> None:
    recipe = small()
    told = Told(recipe)
    loss = losses_of(recipe, batch())["discriminator"].total.detach()
    real, fake = (each.softmax(1) for each in told.classes[:2])
    expected = -real[torch.arange(4), LABELS].log().mean() - fake[:, 3].log().mean()
    torch.testing.assert_close(loss, expected)


def test_generator_shows_the_drawn_label_and_decodes_what_d_encodes() -> None:
    recipe, given = small(reconstruction_weight=0.5), batch()
    told = Told(recipe)
    loss = losses_of(recipe, given)["generator"].total.detach()
    asked = drawn_labels(3)(given).argmax(dim=1)
    shown = told.classes[2].softmax(1)[torch.arange(4), asked].log().mean()
    with torch.no_grad():
        again = reconstructed(recipe.networks, given.pictures)
    squares_ = (again - given.pictures).square().mean()
    torch.testing.assert_close(loss, -shown + 0.5 * squares_)


def test_reconstruction_trains_the_decoder_and_not_what_maps_the_noise() -> None:
    recipe, given = small(), batch()
    generator, critic = recipe.networks["generator"], recipe.networks["discriminator"]
    critic.requires_grad_(False)
    error = (reconstructed(recipe.networks, given.pictures) - given.pictures).square().mean()
    error.backward()  # type: ignore[no-untyped-call]
    assert generator.start.weight.grad is None
    assert all(w.grad is not None for w in generator.body.parameters())


def test_reconstructions_leave_no_trace_in_what_batchnorm_gathers() -> None:
    recipe, given = small(), batch()
    norm = recipe.networks["generator"].body[0]
    before = norm.running_mean.clone()
    reconstructed(recipe.networks, given.pictures)
    assert torch.equal(norm.running_mean, before) and norm.momentum == 0.1


def test_points_are_refused() -> None:
    with pytest.raises(TrainingError, match="learns from pictures"):
        artgan(spec_of(ring()))
