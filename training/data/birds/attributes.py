"""What is true of an illustrated bird, and how such birds are drawn by lot.

A `Bird` is a choice of one value for every attribute, and a number from which all that no
caption names (bend of the neck, light, clouds) follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput

Split = Literal["train", "val", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)

COLOURS = (
    "black",
    "white",
    "grey",
    "brown",
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
)
COLOURED_PARTS = ("crown", "throat", "breast", "belly", "back", "wing", "tail")
MARKS = ("wing_bars", "eye_ring", "cheek_patch", "crest")

ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(COLOURED_PARTS, COLOURS)
    | dict.fromkeys(MARKS, ("no", "yes"))
    | {
        "beak_length": ("short", "long"),
        "beak_shape": ("cone", "hooked", "needle", "flat"),
        "size": ("small", "medium", "large"),
        "pose": ("perched", "flying", "swimming", "ground"),
        "setting": ("sky", "forest", "meadow", "snow", "desert", "water", "sunset"),
    }
)
"""Every attribute with its values; a value's place in its tuple is its code."""

ATTRIBUTE_NAMES = tuple(ATTRIBUTES)

SETTINGS_OF_POSE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "perched": ("sky", "forest", "meadow", "snow", "sunset"),
        "flying": ("sky", "forest", "desert", "water", "sunset"),
        "swimming": ("water", "forest", "sunset"),
        "ground": ("meadow", "forest", "snow", "desert"),
    }
)
"""The settings in which each pose is drawn: no bird swims in the desert."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Two attribute values that never meet in the train and val splits."""

    first: tuple[str, str]
    second: tuple[str, str]

    def of(self, values: Mapping[str, str]) -> bool:
        """Whether a bird with these `values` shows the combination."""
        return all(values.get(name) == value for name, value in (self.first, self.second))


def _pairs(first: str, second: str, *values: tuple[str, str]) -> tuple[Combination, ...]:
    return tuple(Combination((first, one), (second, other)) for one, other in values)


HELD_OUT: tuple[Combination, ...] = (
    *_pairs(
        "crown",
        "belly",
        ("black", "orange"),
        ("white", "purple"),
        ("grey", "yellow"),
        ("brown", "pink"),
        ("red", "white"),
        ("orange", "blue"),
        ("yellow", "red"),
        ("green", "brown"),
        ("blue", "grey"),
        ("purple", "green"),
        ("pink", "black"),
    ),
    *_pairs(
        "crown",
        "wing",
        ("black", "red"),
        ("white", "green"),
        ("grey", "orange"),
        ("brown", "blue"),
        ("red", "black"),
        ("orange", "white"),
        ("yellow", "purple"),
        ("green", "pink"),
        ("blue", "yellow"),
        ("purple", "brown"),
        ("pink", "grey"),
    ),
    *_pairs(
        "size",
        "crown",
        ("large", "green"),
        ("medium", "purple"),
        ("small", "yellow"),
    ),
)
"""The combinations kept for the unseen split. Every value alone is common in training."""


@dataclass(frozen=True, slots=True)
class Bird:
    """One bird: a value for each attribute, and the seed of all that is left open."""

    values: Mapping[str, str]
    variation: int

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            InvalidInput: an attribute is missing or unknown, or a value is none of its values.
        """
        for name in self.values:
            if name not in ATTRIBUTES:
                known = ", ".join(ATTRIBUTES)
                raise InvalidInput(name, self.values[name], "is no attribute", f"use {known}")
        for name, values in ATTRIBUTES.items():
            value = self.values.get(name)
            if value not in values:
                raise InvalidInput(name, value, "is no value of it", f"use {', '.join(values)}")

    def with_values(self, **changes: str) -> Bird:
        """The same bird, in the same light, with some attributes changed."""
        return replace(self, values=MappingProxyType({**self.values, **changes}))

    def codes(self) -> NDArray[np.int8]:
        """Codes of the values, int8 (n_attributes,), in the order of `ATTRIBUTES`."""
        return codes_of(self.values)

    def held_out(self) -> tuple[Combination, ...]:
        """The held-out combinations that this bird shows."""
        return tuple(combination for combination in HELD_OUT if combination.of(self.values))


def codes_of(values: Mapping[str, str]) -> NDArray[np.int8]:
    """Codes of some values, int8 (n_attributes,); -1 where an attribute is not given."""
    return np.array(
        [
            ATTRIBUTES[name].index(values[name]) if name in values else -1
            for name in ATTRIBUTE_NAMES
        ],
        dtype=np.int8,
    )


# Plumage is drawn more often in the colours that birds wear more often.
_PLUMAGE = np.array([1.2, 1.5, 1.2, 1.4, 1.0, 0.9, 1.1, 1.0, 1.1, 0.7, 0.7])
_PLUMAGE_STEPS = np.cumsum(_PLUMAGE / _PLUMAGE.sum())


def _plumage(rng: np.random.Generator) -> str:
    return COLOURS[min(int(np.searchsorted(_PLUMAGE_STEPS, rng.random())), len(COLOURS) - 1)]


def _colour_like(rng: np.random.Generator, *likely: tuple[float, str]) -> str:
    """One of the `likely` colours with their probabilities, else any plumage colour."""
    lot = rng.random()
    any_colour = _plumage(rng)
    for probability, colour in likely:
        if lot < probability:
            return colour
        lot -= probability
    return any_colour


def _choose(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def _sample_values(rng: np.random.Generator, fixed: Mapping[str, str]) -> dict[str, str]:
    """Values as the lot wants them, except those that are `fixed` from the start.

    Colours hang together as in real birds: a plumage is two or three colours on regions.
    """
    values: dict[str, str] = {}

    def settle(name: str, value: str) -> str:
        values[name] = fixed.get(name, value)
        return values[name]

    crown = settle("crown", _choose(rng, COLOURS))
    back = settle("back", _colour_like(rng, (0.35, crown)))
    wing = settle("wing", _colour_like(rng, (0.5, back), (0.1, crown)))
    settle("tail", _colour_like(rng, (0.45, wing), (0.2, back)))
    belly = settle("belly", _colour_like(rng, (0.2, crown)))
    breast = settle("breast", _colour_like(rng, (0.5, belly), (0.15, crown)))
    settle("throat", _colour_like(rng, (0.35, breast), (0.3, crown)))
    for mark in MARKS:
        settle(mark, "yes" if rng.random() < 0.35 else "no")
    settle("beak_length", _choose(rng, ATTRIBUTES["beak_length"]))
    settle("beak_shape", _choose(rng, ATTRIBUTES["beak_shape"]))
    settle("size", _choose(rng, ATTRIBUTES["size"]))
    pose = settle("pose", _choose(rng, ATTRIBUTES["pose"]))
    settle("setting", _choose(rng, SETTINGS_OF_POSE[pose]))
    return {name: values[name] for name in ATTRIBUTE_NAMES}


def sample_bird(rng: np.random.Generator, split: Split = "train") -> Bird:
    """A bird of the split, drawn with `rng`.

    Birds of "train" and "val" show no combination of `HELD_OUT`; every bird of "unseen"
    shows at least one.
    """
    fixed: dict[str, str] = {}
    if split == "unseen":
        combination = HELD_OUT[int(rng.integers(len(HELD_OUT)))]
        fixed = dict((combination.first, combination.second))
    while True:
        values = _sample_values(rng, fixed)
        bird = Bird(MappingProxyType(values), int(rng.integers(2**62)))
        if split == "unseen" or not bird.held_out():
            return bird
