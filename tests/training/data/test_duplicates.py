"""Copies are found, whether equal byte for byte or only to the eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.training.data.folders import draw
from training.data.decode import Decoded, decode
from training.data.duplicates import same_bytes, same_look


def looks(pictures: list[Image.Image], folder: Path, quality: int = 95) -> list[Decoded]:
    """Decode pictures by way of JPEG files."""
    found = []
    for index, picture in enumerate(pictures):
        path = folder / f"{index}.jpg"
        picture.save(path, quality=quality)
        decoded = decode(path.read_bytes, path.name, 32, 8)
        assert isinstance(decoded, Decoded)
        found.append(decoded)
    return found


def groups(found: list[Decoded]) -> list[list[int]]:
    return same_look([one.outline for one in found], np.stack([one.face for one in found]))


def test_equal_hashes_are_grouped() -> None:
    assert same_bytes(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]


def test_resized_and_recompressed_copies_look_the_same(tmp_path: Path) -> None:
    pictures = [draw(seed, 96, 96) for seed in range(20)]
    copies = [picture.resize((64, 64)) for picture in pictures[:5]]
    assert groups(looks(pictures + copies, tmp_path)) == [[i, 20 + i] for i in range(5)]


def test_flat_pictures_of_different_colours_look_different(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)]
    pictures = [Image.new("RGB", (64, 64), colour) for colour in colours]
    assert groups(looks(pictures, tmp_path)) == [[0, 3]]


def test_a_chain_of_lookalikes_is_one_group() -> None:
    faces = np.zeros((3, 8, 8, 3), np.uint8)
    faces[1] += 3
    faces[2] += 6
    assert same_look([0, 0b1, 0b11], faces) == [[0, 1, 2]]


def test_many_pictures_agree_with_comparing_all_pairs() -> None:
    rng = np.random.default_rng(0)
    outlines = rng.integers(0, 2**63, size=300).astype(np.uint64)
    for index in range(0, 300, 3):
        flips = rng.choice(64, size=int(rng.integers(0, 6)), replace=False)
        outlines[index + 1] = outlines[index] ^ np.bitwise_or.reduce(
            np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(0)
        )
    faces = np.zeros((300, 8, 8, 3), np.uint8)
    near = np.bitwise_count(outlines[:, None] ^ outlines[None, :]) <= 3
    expected = [[i, i + 1] for i in range(0, 300, 3) if near[i, i + 1]]
    assert near.sum() == 300 + 2 * len(expected)
    assert same_look(outlines.tolist(), faces) == expected
