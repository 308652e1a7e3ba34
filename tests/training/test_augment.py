from __future__ import annotations

import pytest
import torch

from training.augment import DiffAugment
from training.recipe import RowNoise

CPU = torch.device("cpu")
NOTHING = DiffAugment(colour=False, translation=False, cutout=False)


def noise(n: int) -> RowNoise:
    return RowNoise(0, 0, n, slice(0, n), CPU)


def test_with_every_switch_off_nothing_changes() -> None:
    pictures = torch.rand(4, 3, 8, 8)
    assert NOTHING(pictures, noise(4), "x") is pictures


@pytest.mark.parametrize(
    "augment",
    [
        DiffAugment(translation=False, cutout=False),
        DiffAugment(colour=False, cutout=False),
        DiffAugment(colour=False, translation=False),
        DiffAugment(colour=False, translation=False, cutout=False, flip=True),
        DiffAugment(),
    ],
)
def test_each_switch_changes_pictures_and_lets_gradients_through(augment: DiffAugment) -> None:
    pictures = torch.rand(16, 3, 16, 16, requires_grad=True)
    changed = augment(pictures, noise(16), "x")
    assert changed.shape == pictures.shape
    assert not torch.equal(changed, pictures)
    changed.square().sum().backward()  # type: ignore[no-untyped-call]
    assert pictures.grad is not None and pictures.grad.abs().sum() > 0
    assert torch.equal(augment(pictures, noise(16), "x"), changed)
    assert not torch.equal(augment(pictures, noise(16), "y"), changed)


def test_colour_keeps_a_grey_picture_grey_and_moves_it_by_half_at_most() -> None:
    grey = torch.zeros(64, 3, 4, 4)
    changed = DiffAugment(translation=False, cutout=False)(grey, noise(64), "x")
    assert torch.allclose(changed.amax(dim=1), changed.amin(dim=1), atol=1e-6)
    assert changed.abs().max() <= 0.5


def test_translation_shifts_by_up_to_an_eighth_and_fills_with_zero() -> None:
    dot = torch.zeros(256, 1, 16, 16)
    dot[:, :, 8, 8] = 1.0
    moved = DiffAugment(colour=False, cutout=False)(dot, noise(256), "x")
    assert moved.sum() == 256
    places = moved[:, 0].nonzero()[:, 1:] - 8
    assert sorted(places[:, 0].unique().tolist()) == [-2, -1, 0, 1, 2]
    assert sorted(places[:, 1].unique().tolist()) == [-2, -1, 0, 1, 2]


def test_cutout_blackens_a_square_of_half_the_side_at_most() -> None:
    white = torch.ones(256, 1, 8, 8)
    cut = DiffAugment(colour=False, translation=False)(white, noise(256), "x")
    holes = (cut == 0).flatten(1).sum(dim=1)
    assert holes.max() == 16
    # Squares may reach over the edge; a quarter of one is always inside.
    assert holes.min() >= 4
