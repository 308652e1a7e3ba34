"""Groups pictures that are the same, byte for byte or to the eye."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

# Outlines within 3 of 64 bits agree in all of at least two of five parts, so only pictures that
# share two parts need comparing. Each part holds bits from all over the picture: margins of one
# colour would make a part of neighbouring bits the same for thousands.
_MAX_BITS = 3
_PARTS = 5
# Mean difference of tiny versions, in levels of 0 to 255. Flat pictures have outlines that agree
# by chance, and only this tells them apart.
_MAX_LEVELS = 3.0
_PAIRS_AT_ONCE = 200_000


def same_bytes(hashes: Sequence[str]) -> list[list[int]]:
    """Group indices of equal hashes; groups of one are left out."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(hashes):
        groups[digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def same_look(outlines: Sequence[int], faces: NDArray[np.uint8]) -> list[list[int]]:
    """Group pictures that look the same: resized, recompressed or touched up copies.

    Args:
        outlines: 64-bit numbers, see `Decoded.outline`.
        faces: `(n, 8, 8, 3)`, see `Decoded.face`.

    Returns:
        Lists of indices, ascending; groups of one are left out.
    """
    if not len(outlines):
        return []
    # Pictures that cannot be told apart stand for each other: a thousand black frames are one.
    rows = np.column_stack(
        [
            np.array(outlines, dtype=">u8").view(np.uint8).reshape(-1, 8),
            faces.reshape(len(outlines), -1),
        ]
    )
    different, standing = np.unique(rows, axis=0, return_inverse=True)
    bits = np.ascontiguousarray(different[:, :8]).view(">u8").ravel().astype(np.uint64)
    tiny = different[:, 8:].astype(np.int16)
    parent = np.arange(len(different))
    for first, second in _candidates(bits):
        near = np.bitwise_count(bits[first] ^ bits[second]) <= _MAX_BITS
        first, second = first[near], second[near]
        alike = np.abs(tiny[first] - tiny[second]).mean(axis=1) <= _MAX_LEVELS
        for one, other in zip(first[alike].tolist(), second[alike].tolist(), strict=True):
            _join(parent, one, other)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index, stand_in in enumerate(standing.ravel().tolist()):
        groups[_root(parent, stand_in)].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _candidates(
    bits: NDArray[np.uint64],
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield index pairs that share two parts of their bits, many at once."""
    for part, other in combinations(_part_masks(), 2):
        key = bits & (part | other)
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        edges = np.flatnonzero(np.diff(ordered)) + 1
        for bucket in np.split(order, edges):
            # One row of the triangle of pairs after another, bounded in memory.
            step = max(1, _PAIRS_AT_ONCE // len(bucket))
            for begin in range(0, len(bucket) - 1, step):
                rows = np.arange(begin, min(begin + step, len(bucket) - 1))
                first, second = np.nonzero(rows[:, None] < np.arange(len(bucket))[None, :])
                yield bucket[rows[first]], bucket[second]


def _part_masks() -> list[np.uint64]:
    powers = np.uint64(1) << np.random.default_rng(0).permutation(64).astype(np.uint64)
    return [np.bitwise_or.reduce(powers[part::_PARTS]) for part in range(_PARTS)]


def _root(parent: NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index


def _join(parent: NDArray[np.int64], one: int, other: int) -> None:
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low
