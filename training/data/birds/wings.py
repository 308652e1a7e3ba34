"""Wings, folded and raised: rows of coverts, long primaries, and the bars across them."""

from __future__ import annotations

import math

import numpy as np

from training.data.birds import palette
from training.data.birds.anatomy import Anatomy, Variation
from training.data.birds.shapes import Canvas, Field, smoothstep


def wing_bar_ramp(wing_colour: str) -> palette.Ramp:
    """White bars, or dark ones on a light wing."""
    if wing_colour in palette.LIGHT_COLOURS:
        return palette.plain_ramp((44, 40, 46))
    return palette.plain_ramp((252, 250, 244), 0.1)


def _feathers(place: Field, across: Field, phase: float) -> Field:
    """Light and dark of feathers: scallops near the shoulder, long streaks toward the tip."""
    rows = place * 9.0
    scallops = np.sin(rows * 6.2832 + 2.4 * np.cos(across * 7.0 + phase)) * 0.24
    streaks = np.sin(across * 10.5 + place * 2.0 + phase) * 0.42
    mix = smoothstep(0.40, 0.56, place)
    result: Field = scallops + mix * (streaks - scallops)
    return result


def paint_folded_wing(
    canvas: Canvas, body: Anatomy, vary: Variation, ramp: palette.Ramp, bars: palette.Ramp | None
) -> None:
    """The near wing, folded along the side."""
    swims = body.pose == "swimming"
    start = body.along(0.30, 0.05 if swims else -0.06)
    end = body.along(-1.28, 0.08 if swims else -0.06)
    ax, ay = end[0] - start[0], end[1] - start[1]
    length = math.hypot(ax, ay)
    ax, ay = ax / length, ay / length
    width = body.depth * ((0.38 if swims else 0.47) + 0.03 * vary.wing)
    window = canvas.window((*start, width * 1.3), (*end, width * 1.1))
    if window is None:
        return
    x, y = canvas.at(window)
    dx, dy = x - start[0], y - start[1]
    place = (dx * ax + dy * ay) * (1.0 / length)
    # `up` lies on the bird's back side: the bird looks right, the wing runs left.
    lift = dx * body.up[0] + dy * body.up[1]
    inner = np.clip(place, 0.0, 1.0)
    half = width * np.sqrt(np.clip(1.0 - inner, 0.0, 1.0)) * (1.0 - 0.25 * inner)
    centre = -0.16 * width * np.sin(inner * 3.1416)
    outside = (place - inner) * length
    distance = np.sqrt(outside * outside + (lift - centre) ** 2) - half
    shadow = canvas.coverage(distance - 0.004, 0.035) * np.float32(0.28)
    canvas.lay(window, shadow, ramp[0:3] * np.float32(0.3))
    across = np.clip((lift - centre) / (half + np.float32(0.01)), -1.0, 1.0)
    light = 0.12 + 0.42 * across - 0.12 * vary.light_x * (0.5 - inner)
    light += _feathers(inner, across, 6.28 * vary.phases[1])
    light -= 0.55 * smoothstep(-0.018, 0.0, distance)
    alpha = canvas.coverage(distance)
    canvas.shade(window, alpha, ramp, np.clip(light, -1, 1), "wing")
    if bars is not None:
        for at in (0.26, 0.50):
            slant = inner + 0.07 * across - at
            bar = np.abs(slant) * length - 0.0155
            bar = np.maximum(bar, distance + 0.008)
            canvas.shade(window, canvas.coverage(bar), bars, 0.0, "wing_bars")


def paint_raised_wing(
    canvas: Canvas,
    body: Anatomy,
    vary: Variation,
    ramp: palette.Ramp,
    bars: palette.Ramp | None,
    *,
    near: bool,
) -> None:
    """A spread wing in flight; the far one is in shadow, behind the body."""
    root = body.along(0.22, 0.42) if near else body.along(0.46, 0.55)
    lean = (108 if near else 78) + 9 * vary.sweep
    angle = math.radians(lean)
    ax, ay = math.cos(angle), -math.sin(angle)
    span = (0.055 + body.length * 1.5) * (1.0 if near else 0.92) * (1 + 0.05 * vary.wing)
    chord = min(0.03 + body.length * 0.46, 0.132)
    # Trailing side: toward the tail.
    bx, by = ay, -ax
    window = canvas.window(
        (root[0], root[1], chord * 1.3),
        (root[0] + ax * span, root[1] + ay * span, chord * 1.6),
    )
    if window is None:
        return
    x, y = canvas.at(window)
    dx, dy = x - root[0], y - root[1]
    place = (dx * ax + dy * ay) * (1.0 / span)
    inner = np.clip(place, 0.0, 1.0)
    behind = dx * bx + dy * by - chord * 0.75 * inner * inner
    # The primaries part toward the tip, the inner edge stays closed.
    fingers = 1.0 + 0.10 * inner * np.cos(inner * 40.0 + 1.0)
    grown = 0.62 + 0.38 * smoothstep(-0.1, 0.3, place)
    trailing = chord * grown * np.sqrt(np.clip(1.0 - inner**3, 0.0, 1.0)) * fingers
    leading = chord * (0.30 + 0.22 * np.sin(inner * 3.1416)) * np.sqrt(1.0 - inner**3)
    distance = np.maximum(behind - trailing, -behind - leading)
    distance = np.maximum(distance, (place - 1.0) * span)
    round_root = np.sqrt(
        np.clip(-0.04 - place, 0.0, None) ** 2 * (span * span)
        + np.clip(np.abs(behind - 0.1 * chord) - 0.4 * chord, 0.0, None) ** 2
    )
    distance = np.where(place < 0.0, np.maximum(distance, round_root - 0.02), distance)
    across = np.clip(behind / chord, -0.6, 1.1)
    coverts = smoothstep(0.40, 0.28, across + 0.16 * inner)
    streaks = np.sin((inner * 1.15 - across * 0.42) * 24.0 + 1.0) * 0.36
    scallops = np.sin(across * 20.0 + 1.6 * np.cos(inner * 22.0)) * 0.2
    light = streaks + coverts * (scallops + 0.15 - streaks)
    light -= 0.5 * smoothstep(-0.018, 0.0, distance)
    light += 0.10 if near else -0.5
    canvas.shade(window, canvas.coverage(distance), ramp, np.clip(light, -1, 1), "wing")
    if bars is not None and near:
        for at in (0.02, 0.46):
            bar = np.abs(across + 0.1 * inner - at) * chord - 0.0145
            bar = np.maximum(bar, distance + 0.008)
            bar = np.maximum(bar, (0.14 - place) * span)
            canvas.shade(window, canvas.coverage(bar), bars, 0.0, "wing_bars")
