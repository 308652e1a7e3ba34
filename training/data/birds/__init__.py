"""Illustrated birds: seeded, unlimited pictures of birds with captions and the truth of both."""

from training.data.birds.attributes import (
    ATTRIBUTE_NAMES,
    ATTRIBUTES,
    COLOURED_PARTS,
    COLOURS,
    HELD_OUT,
    SETTINGS_OF_POSE,
    SPLITS,
    Bird,
    Combination,
    Split,
    sample_bird,
)
from training.data.birds.captions import Caption, describe
from training.data.birds.dataset import BirdData, BirdTruth, bird_at, birds
from training.data.birds.drawing import part_masks, render

__all__ = [
    "ATTRIBUTES",
    "ATTRIBUTE_NAMES",
    "COLOURED_PARTS",
    "COLOURS",
    "HELD_OUT",
    "SETTINGS_OF_POSE",
    "SPLITS",
    "Bird",
    "BirdData",
    "BirdTruth",
    "Caption",
    "Combination",
    "Split",
    "bird_at",
    "birds",
    "describe",
    "part_masks",
    "render",
    "sample_bird",
]
