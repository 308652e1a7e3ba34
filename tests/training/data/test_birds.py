"""Illustrated birds are fixed by their seed, show what they are, and keep combinations apart."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.birds import (
    ATTRIBUTE_NAMES,
    ATTRIBUTES,
    COLOURED_PARTS,
    COLOURS,
    HELD_OUT,
    SETTINGS_OF_POSE,
    Bird,
    Split,
    bird_at,
    part_masks,
    render,
    sample_bird,
)
from training.data.birds.palette import ramp


@cache
def flock(split: Split, count: int, seed: int = 0) -> list[Bird]:
    return [bird_at(split, seed, index)[0] for index in range(count)]


def nearest_name(colour: NDArray[np.float32]) -> str:
    """The colour name whose range passes nearest to an RGB colour in 0..1, shading included."""
    distances = {}
    for name in COLOURS:
        for place in (0.0, 0.5, 1.0):
            shadow, base, light = ramp(name, place).reshape(3, 3)
            for one, other in ((shadow, base), (base, light)):
                along = np.clip((colour - one) @ (other - one) / np.sum((other - one) ** 2), 0, 1)
                distance = float(np.linalg.norm(colour - one - along * (other - one)))
                distances[name] = min(distance, distances.get(name, np.inf))
    return min(distances, key=distances.__getitem__)


def test_a_bird_is_the_same_bytes_each_time() -> None:
    for index in range(4):
        bird, captions = bird_at("train", 3, index)
        again, captions_again = bird_at("train", 3, index)
        assert (bird, captions) == (again, captions_again)
        assert render(bird, 64).tobytes() == render(again, 64).tobytes()


def test_seeds_splits_and_places_give_different_birds() -> None:
    keys: list[tuple[Split, int, int]] = [
        ("train", 0, 0),
        ("val", 0, 0),
        ("unseen", 0, 0),
        ("train", 1, 0),
        ("train", 0, 1),
    ]
    pictures = {hashlib.sha256(render(bird_at(*key)[0], 64)).digest() for key in keys}
    assert len(pictures) == len(keys)


def test_held_out_combinations_are_in_every_unseen_bird_and_in_no_other() -> None:
    assert not any(bird.held_out() for bird in flock("train", 2000))
    assert not any(bird.held_out() for bird in flock("val", 1000))
    unseen = flock("unseen", 600)
    assert all(bird.held_out() for bird in unseen)
    assert {combination for bird in unseen for combination in bird.held_out()} == set(HELD_OUT)


def test_small_birds_with_red_heads_are_in_training() -> None:
    assert any(
        bird.values["size"] == "small" and bird.values["crown"] == "red"
        for bird in flock("train", 2000)
    )


def test_every_value_alone_is_common_in_training() -> None:
    codes = np.stack([bird.codes() for bird in flock("train", 2000)])
    for column, (name, values) in enumerate(ATTRIBUTES.items()):
        shares = np.bincount(codes[:, column], minlength=len(values)) / len(codes)
        assert shares.min() > 0.03, (name, dict(zip(values, shares, strict=True)))


def test_no_head_colour_is_rare_or_rules() -> None:
    crowns = np.array([bird.codes()[0] for bird in flock("train", 2000)])
    shares = np.bincount(crowns, minlength=len(COLOURS)) / len(crowns)
    assert shares.min() > 0.045
    assert shares.max() < 0.13


def test_settings_suit_the_pose() -> None:
    for birds in (flock("train", 2000), flock("unseen", 600)):
        for bird in birds:
            assert bird.values["setting"] in SETTINGS_OF_POSE[bird.values["pose"]]


def masked_mean(picture: NDArray[np.uint8], mask: NDArray[np.floating]) -> NDArray[np.float32]:
    weights = mask * (mask > 0.7)
    total = (picture / 255 * weights[..., None]).sum(axis=(0, 1))
    return (total / weights.sum()).astype(np.float32)


def test_every_part_shows_the_colour_of_its_name() -> None:
    for bird in flock("train", 80):
        picture = render(bird, 64)
        for part, mask in part_masks(bird, 64).items():
            seen = nearest_name(masked_mean(picture, mask))
            assert seen == bird.values[part], (part, bird)


@pytest.mark.parametrize("pose", ATTRIBUTES["pose"])
@pytest.mark.parametrize("size", ATTRIBUTES["size"])
def test_every_part_fills_pixels_in_every_pose_and_size(pose: str, size: str) -> None:
    for bird in flock("train", 12, seed=5):
        posed = bird.with_values(pose=pose, size=size, setting=SETTINGS_OF_POSE[pose][0])
        for part, mask in part_masks(posed, 64).items():
            assert (mask > 0.6).sum() >= 12, (part, pose, size)


def test_part_masks_lie_on_the_mirrored_bird_too() -> None:
    birds = flock("train", 20)
    # The head looks to one side or the other; the mask must be on the same side as the picture.
    sides = set()
    for bird in birds:
        colours = dict.fromkeys(COLOURED_PARTS, "green") | {"crown": "red"}
        plain = bird.with_values(**colours, pose="ground", setting="snow", crest="no")
        picture = render(plain, 64).astype(int)
        red = (picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] < 90)
        seen = np.nonzero(red)[1].mean()
        masked = np.nonzero(part_masks(plain, 64)["crown"] > 0.6)[1].mean()
        assert abs(seen - masked) < 3
        sides.add(bool(seen > 32))
    assert sides == {True, False}


@pytest.mark.parametrize("name", ATTRIBUTE_NAMES)
def test_an_attribute_changed_alone_changes_pixels(name: str) -> None:
    for bird in flock("train", 3, seed=2):
        before = render(bird, 64).astype(int)
        pose = bird.values["pose"]
        values = SETTINGS_OF_POSE[pose] if name == "setting" else ATTRIBUTES[name]
        for value in values:
            if value == bird.values[name]:
                continue
            changed = np.abs(render(bird.with_values(**{name: value}), 64) - before).max(axis=2)
            assert (changed > 24).sum() >= 6, (name, bird.values[name], value)


def test_a_colour_changed_alone_changes_only_its_part() -> None:
    bird = flock("train", 1, seed=7)[0].with_values(
        pose="perched", setting="sky", belly="yellow", wing="blue"
    )
    changed = np.abs(render(bird.with_values(belly="red"), 64).astype(int) - render(bird, 64)).max(
        axis=2
    )
    mask = part_masks(bird, 64)["belly"]
    assert (changed[mask < 0.001] == 0).all()
    assert (changed[mask > 0.9] > 30).all()


@pytest.mark.parametrize("size", [64, 128, 200, 256])
def test_every_size_shows_the_same_picture(size: int) -> None:
    for bird in flock("train", 3, seed=4):
        large = render(bird, 256).reshape(32, 8, 32, 8, 3).mean(axis=(1, 3))
        picture = render(bird, size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        if size % 32 == 0:
            factor = size // 32
            small = picture.reshape(32, factor, 32, factor, 3).mean(axis=(1, 3))
            assert np.abs(small - large).mean() < 3


def test_birds_stay_within_the_picture() -> None:
    for bird in flock("train", 60, seed=6):
        masks = part_masks(bird, 64)
        crown = masks["crown"] > 0.6
        # A crest or a tail may touch an edge; heads are whole.
        edge = np.concatenate([crown[0], crown[-1], crown[:, 0], crown[:, -1]])
        assert edge.sum() <= 3, bird


def test_size_is_a_share_of_the_picture() -> None:
    spans: dict[str, list[float]] = {size: [] for size in ATTRIBUTES["size"]}
    for bird in flock("train", 12, seed=8):
        for size in spans:
            standing = bird.with_values(size=size, pose="ground", setting="meadow")
            shown = sum(mask > 0.5 for mask in part_masks(standing, 64).values())
            columns = np.nonzero(np.asarray(shown).any(axis=0))[0]
            spans[size].append((columns[-1] - columns[0] + 1) / 64)
    small, medium, large = (np.array(spans[size]) for size in ("small", "medium", "large"))
    assert (small < medium).all()
    assert (medium < large).all()
    assert medium.mean() - small.mean() > 0.06
    assert large.mean() - medium.mean() > 0.06


def test_with_values_leaves_the_bird_itself_alone() -> None:
    bird = sample_bird(np.random.default_rng(0))
    colour = "red" if bird.values["crown"] != "red" else "blue"
    other = bird.with_values(crown=colour)
    assert other.values["crown"] == colour
    assert bird.values["crown"] != colour
    assert other.variation == bird.variation


@pytest.mark.parametrize(
    ("field", "changes"),
    [("crown", {"crown": "mauve"}), ("size", {"size": "huge"}), ("mood", {"mood": "merry"})],
)
def test_a_bird_that_cannot_be_drawn_is_refused(field: str, changes: dict[str, str]) -> None:
    bird = sample_bird(np.random.default_rng(0))
    with pytest.raises(InvalidInput) as caught:
        bird.with_values(**changes)
    assert caught.value.field == field
