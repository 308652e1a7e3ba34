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


PICTURES = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
ONLY = {
    "colour": DiffAugment(translation=False, cutout=False),
    "translation": DiffAugment(colour=False, cutout=False),
    "cutout": DiffAugment(colour=False, translation=False),
    "flip": DiffAugment(colour=False, translation=False, cutout=False, flip=True),
}


def test_colour_is_brightness_then_saturation_then_contrast_of_each_picture() -> None:
    changed = ONLY["colour"](PICTURES, noise(12), "x")
    for x, y, drawn in zip(PICTURES, changed, noise(12).uniform("x/colour", 3), strict=True):
        brightness, saturation, contrast = drawn[0] - 0.5, 2 * drawn[1], drawn[2] + 0.5
        x = x + brightness
        x = torch.lerp(x.mean(dim=0).expand(3, 8, 8), x, saturation)
        torch.testing.assert_close(y, torch.lerp(x.mean().expand(3, 8, 8), x, contrast))


@pytest.mark.parametrize("side", [8, 16])
def test_translation_takes_each_pixel_from_as_far_as_was_drawn(side: int) -> None:
    pictures = torch.rand(12, 3, side, side)
    moved = ONLY["translation"](pictures, noise(12), "x")
    reach = side // 8
    drawn = noise(12).uniform("x/translation", 2)
    down, right = ((drawn * (2 * reach + 1)).floor().long() - reach).unbind(1)
    for n in range(12):
        for row in range(side):
            for column in range(side):
                source = row + int(down[n]), column + int(right[n])
                inside = all(0 <= place < side for place in source)
                expected = pictures[n, :, source[0], source[1]] if inside else torch.zeros(3)
                assert torch.equal(moved[n, :, row, column], expected)


@pytest.mark.parametrize(("side", "starts"), [(8, range(-2, 7)), (6, range(-1, 5))])
def test_the_cut_squares_middle_lies_anywhere_in_the_picture(side: int, starts: range) -> None:
    white = torch.ones(400, 1, side, side)
    cut = ONLY["cutout"](white, noise(400), "x")
    drawn = noise(400).uniform("x/cutout", 2)
    seen = set()
    for picture, (row, column) in zip(cut, drawn.tolist(), strict=True):
        top, left = (starts[int(share * len(starts))] for share in (row, column))
        seen |= {top, left}
        expected = torch.ones(side, side)
        expected[max(top, 0) : top + side // 2, max(left, 0) : left + side // 2] = 0.0
        assert torch.equal(picture[0], expected)
    assert seen == set(starts)


def test_half_of_the_pictures_are_mirrored_from_left_to_right() -> None:
    mirrored = ONLY["flip"](PICTURES, noise(12), "x")
    for x, y, share in zip(PICTURES, mirrored, noise(12).uniform("x/flip", 1), strict=True):
        assert torch.equal(y, x.flip(2) if share < 0.5 else x)


def test_all_at_once_is_one_after_the_other() -> None:
    expected = PICTURES
    for name in ("flip", "colour", "translation", "cutout"):
        expected = ONLY[name](expected, noise(12), "x")
    assert torch.equal(DiffAugment(flip=True)(PICTURES, noise(12), "x"), expected)
    assert DiffAugment() == DiffAugment(colour=True, translation=True, cutout=True, flip=False)
