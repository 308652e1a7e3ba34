"""What a split offers to be measured against: real pictures, captions, and birds of one caption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from training.data.birds import (
    ATTRIBUTE_NAMES,
    ATTRIBUTES,
    HELD_OUT,
    SETTINGS_OF_POSE,
    Bird,
    Split,
    birds,
    render,
    sample_bird,
)
from training.metrics.errors import MetricsError
from training.metrics.features import Progress

_TRIES = 1_000


@dataclass(frozen=True, slots=True)
class Reference:
    """One split of the illustrated birds, ready to be measured against.

    Attributes:
        split: name of the split.
        fingerprint: of the data set.
        pictures: (count, r, r, 3) uint8, the pictures whose captions are asked.
        floor: (count, r, r, 3) uint8, as many other pictures of the split: what a perfect model
            would score against `pictures`.
        attributes: (count, n_attributes) int8 of `pictures`.
        floor_attributes: the same of `floor`.
        captions: one caption for each picture, drawn by lot from its captions.
        claims: (count, n_attributes) int8, what each of `captions` states, -1 where nothing.
    """

    split: Split
    fingerprint: str
    pictures: NDArray[np.uint8]
    floor: NDArray[np.uint8]
    attributes: NDArray[np.int8]
    floor_attributes: NDArray[np.int8]
    captions: tuple[str, ...]
    claims: NDArray[np.int8]


def load_reference(
    split: Split,
    count: int,
    *,
    size: int,
    seed: int,
    cache_dir: Path | None,
    progress: bool,
) -> Reference:
    """Draw (or read from the cache) 2 · count birds of a split and choose one caption of each.

    Raises:
        MetricsError: fewer than two pictures are asked for.
    """
    if count < 2:
        raise MetricsError("count", count, "is too few to measure", "use 2 or more")
    data = birds(split, 2 * count, size, seed=seed, cache_dir=cache_dir, progress=progress)
    rng = np.random.default_rng([seed, count])
    starts = data.caption_starts[:count]
    widths = data.caption_starts[1 : count + 1] - starts
    chosen = starts + rng.integers(widths)
    texts = data.flat_captions
    return Reference(
        split=split,
        fingerprint=data.fingerprint,
        pictures=data.pictures[:count],
        floor=data.pictures[count:],
        attributes=data.attributes[:count],
        floor_attributes=data.attributes[count:],
        captions=tuple(texts[index] for index in chosen),
        claims=data.claims[chosen],
    )


def bird_of_claims(rng: np.random.Generator, split: Split, claims: Mapping[str, str]) -> Bird:
    """A bird of the split of which the claims are true, all else by lot.

    Raises:
        MetricsError: no bird of the split can be like that.
    """
    for _ in range(_TRIES):
        fixed = dict(claims)
        if split == "unseen":
            fitting = [each for each in HELD_OUT if _agrees(fixed, each.first, each.second)]
            if not fitting:
                break
            chosen = fitting[int(rng.integers(len(fitting)))]
            fixed |= (chosen.first, chosen.second)
        bird = sample_bird(rng, "train").with_values(**fixed)
        values = bird.values
        if values["setting"] not in SETTINGS_OF_POSE[values["pose"]]:
            continue
        if (split == "unseen") == bool(bird.held_out()):
            return bird
    raise MetricsError("claims", dict(claims), f"fits no bird of {split}", "use captions of it")


def _agrees(fixed: Mapping[str, str], *wanted: tuple[str, str]) -> bool:
    return all(fixed.get(name, value) == value for name, value in wanted)


def named(claims: NDArray[np.int8]) -> Mapping[str, str]:
    """The values that a row (n_attributes,) of codes states, by name."""
    return MappingProxyType(
        {
            name: ATTRIBUTES[name][code]
            for name, code in zip(ATTRIBUTE_NAMES, claims.tolist(), strict=True)
            if code >= 0
        }
    )


def real_groups(
    reference: Reference,
    rows: NDArray[np.int64],
    *,
    each: int,
    seed: int,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Real pictures of the same captions: (len(rows), each, r, r, 3) uint8.

    Each group holds freshly drawn birds of which the caption of that row is true.
    """
    size = reference.pictures.shape[1]
    groups = np.empty((len(rows), each, size, size, 3), np.uint8)
    for group, row in enumerate(rows.tolist()):
        rng = np.random.default_rng([seed, row])
        claims = named(reference.claims[row])
        for place in range(each):
            groups[group, place] = render(bird_of_claims(rng, reference.split, claims), size)
        if progress is not None:
            progress(each)
    return groups
