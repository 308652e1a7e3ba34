"""Colours by name: each name is a range of natural colours that shading cannot leave.

Every colour is a ramp of shadow, base and light. The ramps keep the hue of their name from
the darkest fold to the brightest edge: red never dims to brown, nor yellow to orange.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Ramp = NDArray[np.float32]
"""Shadow, base and light, each RGB in 0..1: float32 (9,)."""

_Triple = tuple[int, int, int]

# Two ends of each range, as (shadow, base, light); a bird's colour lies between them.
_RANGES: Mapping[str, tuple[tuple[_Triple, ...], tuple[_Triple, ...]]] = {
    "black": (
        ((12, 12, 18), (30, 30, 37), (66, 69, 82)),
        ((18, 15, 16), (42, 38, 40), (80, 76, 78)),
    ),
    "white": (
        ((205, 212, 226), (241, 243, 246), (255, 255, 255)),
        ((218, 211, 201), (247, 243, 234), (255, 255, 250)),
    ),
    "grey": (
        ((86, 91, 101), (121, 126, 136), (152, 157, 166)),
        ((108, 109, 112), (148, 149, 151), (176, 177, 178)),
    ),
    "brown": (
        ((66, 40, 24), (98, 62, 38), (132, 90, 60)),
        ((88, 48, 22), (130, 78, 40), (162, 108, 66)),
    ),
    "red": (
        ((142, 10, 30), (198, 22, 44), (232, 68, 78)),
        ((164, 18, 16), (222, 38, 30), (246, 86, 70)),
    ),
    "orange": (
        ((206, 86, 8), (240, 118, 18), (255, 154, 62)),
        ((216, 104, 10), (250, 142, 30), (255, 174, 84)),
    ),
    "yellow": (
        ((222, 178, 18), (252, 214, 36), (255, 234, 96)),
        ((226, 194, 30), (255, 230, 60), (255, 244, 130)),
    ),
    "green": (
        ((20, 88, 46), (38, 132, 66), (92, 176, 106)),
        ((58, 112, 28), (94, 160, 44), (142, 200, 86)),
    ),
    "blue": (
        ((18, 46, 130), (34, 78, 188), (84, 130, 228)),
        ((24, 88, 168), (48, 132, 220), (108, 178, 244)),
    ),
    "purple": (
        ((66, 28, 112), (102, 50, 158), (146, 96, 200)),
        ((90, 28, 112), (132, 52, 158), (172, 98, 196)),
    ),
    "pink": (
        ((216, 100, 146), (244, 140, 180), (255, 184, 208)),
        ((222, 124, 150), (250, 164, 184), (255, 202, 212)),
    ),
}
_ENDS = {
    name: tuple(np.array(end, dtype=np.float32).reshape(9) / np.float32(255) for end in ends)
    for name, ends in _RANGES.items()
}

LIGHT_COLOURS = frozenset({"white", "yellow", "pink"})
"""Names on which a white mark would not be seen."""


def ramp(name: str, place: float = 0.5, gain: float = 1.0) -> Ramp:
    """The ramp of the colour `name` at `place` (0..1) in its range, times `gain` (about 1)."""
    low, high = _ENDS[name]
    mixed = low + np.float32(place) * (high - low)
    return np.minimum(mixed * np.float32(gain), np.float32(1.0))


def plain_ramp(base: _Triple, depth: float = 0.35) -> Ramp:
    """A ramp around an unnamed colour (RGB 0..255), `depth` deep, as for bark and beaks."""
    colour = np.array(base, dtype=np.float32) / np.float32(255)
    return np.concatenate(
        [colour * np.float32(1 - depth), colour, colour + (1 - colour) * np.float32(depth)]
    ).astype(np.float32)
