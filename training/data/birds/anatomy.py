"""Where the parts of a bird lie: proportions by size and pose, in fractions of the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.data.birds.shapes import Point


@dataclass(frozen=True)
class Variation:
    """All that no caption names, each drawn once, in the same order for every bird."""

    flip: bool
    tilt: float
    plump: float
    neck: float
    tail: float
    legs: float
    scale: float
    shift_x: float
    shift_y: float
    wing: float
    sweep: float
    light_x: float
    light_y: float
    beak: float
    beak_tone: float
    leg_tone: float
    crest: float
    gain: float
    phases: tuple[float, ...]
    places: tuple[float, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Variation:
        """A variation; numbers are in -1..1, phases and places in 0..1."""
        lots = iter((rng.random(17) * 2 - 1).tolist())
        return cls(
            flip=bool(rng.random() < 0.5),
            tilt=next(lots),
            plump=next(lots),
            neck=next(lots),
            tail=next(lots),
            legs=next(lots),
            scale=next(lots),
            shift_x=next(lots),
            shift_y=next(lots),
            wing=next(lots),
            sweep=next(lots),
            light_x=next(lots),
            light_y=next(lots),
            beak=next(lots),
            beak_tone=next(lots),
            leg_tone=next(lots),
            crest=next(lots),
            gain=next(lots),
            phases=tuple(rng.random(8).tolist()),
            places=tuple(rng.random(7).tolist()),
        )


@dataclass(frozen=True)
class _Build:
    """Proportions of a size: `length` in fractions of the picture, the rest in lengths."""

    length: float
    depth: float
    head: float
    neck: float
    tail: float
    legs: float
    eye: float


_BUILDS = {
    "small": _Build(length=0.152, depth=0.96, head=0.72, neck=0.24, tail=0.95, legs=0.30, eye=0.24),
    "medium": _Build(
        length=0.207, depth=0.73, head=0.57, neck=0.12, tail=1.00, legs=0.42, eye=0.23
    ),
    "large": _Build(length=0.234, depth=0.62, head=0.46, neck=0.50, tail=0.86, legs=0.62, eye=0.22),
}


@dataclass(frozen=True)
class Anatomy:
    """A bird that looks to the right, placed in the picture."""

    pose: str
    centre: Point
    axis: Point
    """Unit vector from tail to chest."""
    up: Point
    """Unit vector from belly to back."""
    length: float
    """Half the length of the body."""
    depth: float
    """Half the depth of the body."""
    head: Point
    head_radius: float
    neck_root: Point
    tail_root: Point
    tail_tip: Point
    tail_width: float
    eye_radius: float
    beak_root: Point
    beak_axis: Point
    legs: tuple[tuple[Point, Point], ...]
    line: float
    """Height of the ground, the branch's upper edge or the water."""

    def along(self, forward: float, upward: float) -> Point:
        """A point in body coordinates, in half-lengths and half-depths from the centre."""
        return (
            self.centre[0]
            + self.axis[0] * forward * self.length
            + self.up[0] * upward * self.depth,
            self.centre[1]
            + self.axis[1] * forward * self.length
            + self.up[1] * upward * self.depth,
        )


def _direction(degrees: float) -> Point:
    """Unit vector `degrees` above the horizon, to the right."""
    angle = math.radians(degrees)
    return math.cos(angle), -math.sin(angle)


_TILTS = {"perched": 36.0, "ground": 20.0, "swimming": 6.0, "flying": 10.0}
_NECK_ANGLES = {"perched": 62.0, "ground": 62.0, "swimming": 68.0, "flying": 24.0}


def place_bird(size: str, pose: str, vary: Variation) -> Anatomy:
    """Lay the skeleton out and centre it in the picture."""
    build = _BUILDS[size]
    length = build.length * (1 + 0.04 * vary.scale)
    depth = build.depth * length * (1 + 0.06 * vary.plump)
    if pose == "flying":
        depth *= 0.92
    axis = _direction(_TILTS[pose] + 7 * vary.tilt)
    up = (axis[1], -axis[0])
    head_radius = build.head * length
    reach = _direction(_NECK_ANGLES[pose] + 8 * vary.neck)
    neck_length = length * (0.42 + build.neck * (1 + 0.2 * vary.neck)) + 0.25 * head_radius
    neck_root = (axis[0] * length * 0.5, axis[1] * length * 0.5)
    head = (
        neck_root[0] + reach[0] * neck_length,
        neck_root[1] + reach[1] * neck_length,
    )
    droop = {"perched": -8.0, "ground": -4.0, "swimming": 16.0, "flying": 0.0}[pose]
    tail_length = build.tail * length * (1 + 0.15 * vary.tail)
    tail_axis = _direction(_TILTS[pose] + 7 * vary.tilt - droop + 5 * vary.phases[0])
    tail_root = (-axis[0] * length * 0.72, -axis[1] * length * 0.72)
    tail_tip = (
        tail_root[0] - tail_axis[0] * (tail_length + 0.2 * length),
        tail_root[1] - tail_axis[1] * (tail_length + 0.2 * length),
    )
    beak_axis = _direction(-4 + 5 * vary.beak + (4 if pose == "flying" else 0))
    beak_root = (
        head[0] + beak_axis[0] * head_radius * 0.82,
        head[1] + beak_axis[1] * head_radius * 0.82 + 0.12 * head_radius,
    )
    legs: list[tuple[Point, Point]] = []
    bottom = depth * 0.95
    if pose in ("perched", "ground"):
        stretch = build.legs * length * (1 + 0.15 * vary.legs) * (1.25 if pose == "ground" else 0.6)
        bottom = depth * 0.86 + stretch + 0.02
        for forward in (-0.02, 0.26):
            hip = (axis[0] * length * (forward - 0.1), depth * 0.62)
            legs.append((hip, (hip[0] + 0.02 + 0.01 * vary.legs, bottom)))
    line = depth * 0.80 if pose == "swimming" else bottom
    # Centre what is seen: from tail to the tip of a middling beak, from head to foot.
    left = min(tail_tip[0] - 0.02, -length)
    right = max(beak_root[0] + 0.115, length)
    top = head[1] - head_radius - 0.035
    foot = bottom + 0.04
    if pose == "flying":
        top = min(top, -1.9 * length - 0.1 * depth)
        foot = depth
    elif pose == "perched":
        foot = max(bottom + 0.07, tail_tip[1])
    elif pose == "swimming":
        foot = line + 0.16
    shift_x = 0.5 - (left + right) / 2 + 0.03 * vary.shift_x
    shift_y = 0.5 - (top + foot) / 2 + 0.03 * vary.shift_y

    def moved(point: Point) -> Point:
        return point[0] + shift_x, point[1] + shift_y

    return Anatomy(
        pose=pose,
        centre=moved((0.0, 0.0)),
        axis=axis,
        up=up,
        length=length,
        depth=depth,
        head=moved(head),
        head_radius=head_radius,
        neck_root=moved(neck_root),
        tail_root=moved(tail_root),
        tail_tip=moved(tail_tip),
        tail_width=depth * 0.36,
        eye_radius=build.eye * head_radius,
        beak_root=moved(beak_root),
        beak_axis=beak_axis,
        legs=tuple((moved(hip), moved(foot_)) for hip, foot_ in legs),
        line=line + shift_y,
    )
