"""Draw an illustrated bird: one picture from its attributes and its variation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.data.birds import palette
from training.data.birds.anatomy import Anatomy, Variation, place_bird
from training.data.birds.attributes import COLOURED_PARTS, Bird
from training.data.birds.scenery import paint_branch, paint_setting
from training.data.birds.shapes import (
    Canvas,
    Field,
    Point,
    disc,
    ellipse,
    limb,
    lit,
    polygon,
    smooth_union,
    smoothstep,
)
from training.data.birds.wings import paint_folded_wing, paint_raised_wing, wing_bar_ramp

# Each shape in the colours in which birds wear it: finches' slate, raptors' yellow,
# hummingbirds' black, ducks' orange. No caption names the colour of a beak.
_BEAK_TONES = {
    "cone": ((104, 116, 140), (126, 134, 152)),
    "hooked": ((248, 208, 62), (240, 216, 104)),
    "needle": ((34, 30, 36), (54, 46, 46)),
    "flat": ((244, 138, 36), (236, 116, 30)),
}
_LEG_TONES = ((72, 62, 62), (214, 136, 60), (150, 118, 100))


def render(bird: Bird, size: int) -> NDArray[np.uint8]:
    """The picture of `bird`, uint8 (size, size, 3)."""
    canvas, flipped = _paint(bird, size, keep_masks=False)
    picture = canvas.bytes()
    return np.ascontiguousarray(picture[:, ::-1]) if flipped else picture


def part_masks(bird: Bird, size: int) -> dict[str, Field]:
    """How much of each pixel shows each coloured part: name -> float32 (size, size) in 0..1."""
    canvas, flipped = _paint(bird, size, keep_masks=True)
    masks = {name: canvas.masks[name] for name in COLOURED_PARTS}
    return {name: mask[:, ::-1] if flipped else mask for name, mask in masks.items()}


def _paint(bird: Bird, size: int, *, keep_masks: bool) -> tuple[Canvas, bool]:
    """Paint a bird that looks right; also whether the picture is to be mirrored."""
    values = bird.values
    vary = Variation.draw(np.random.default_rng([bird.variation, 0]))
    scenery = np.random.default_rng([bird.variation, 1])
    pose, setting = values["pose"], values["setting"]
    body = place_bird(values["size"], pose, vary)
    ramps = {
        part: palette.ramp(values[part], _place(vary, values[part]), 1.0 + 0.03 * vary.gain)
        for part in COLOURED_PARTS
    }
    bars = wing_bar_ramp(values["wing"]) if values["wing_bars"] == "yes" else None
    canvas = Canvas(size, keep_masks)
    paint_setting(canvas, setting, pose, body.line, scenery)
    ground = canvas.rgb.copy() if pose == "swimming" else None
    if pose == "perched":
        feet = ((body.legs[0][1][0] + body.legs[1][1][0]) / 2, body.line)
        paint_branch(canvas, feet, setting == "snow", scenery)
    elif pose == "ground":
        _ground_shadow(canvas, body)
    elif pose == "flying":
        paint_raised_wing(canvas, body, vary, ramps["wing"], bars, near=False)
    _legs(canvas, body, vary)
    _tail(canvas, body, vary, ramps["tail"])
    if values["crest"] == "yes":
        _crest(canvas, body, vary, ramps["crown"])
    _beak(canvas, body, vary, values["beak_shape"], values["beak_length"])
    _body(canvas, body, vary, ramps)
    if pose == "flying":
        paint_raised_wing(canvas, body, vary, ramps["wing"], bars, near=True)
    else:
        paint_folded_wing(canvas, body, vary, ramps["wing"], bars)
    _face(canvas, body, values)
    if ground is not None:
        _waterline(canvas, body, vary, ground)
    return canvas, vary.flip


def _place(vary: Variation, colour: str) -> float:
    """Place in the range of a colour: parts of one name match on one bird."""
    return vary.places[sum(colour.encode()) % len(vary.places)]


def _ground_shadow(canvas: Canvas, body: Anatomy) -> None:
    x = body.centre[0]
    radii = (body.length * 1.1, 0.03)
    window = canvas.window((x - radii[0], body.line, 0.07), (x + radii[0], body.line, 0.07))
    if window is not None:
        distance = ellipse(*canvas.at(window), (x, body.line + 0.008), radii)
        alpha = canvas.coverage(distance, 0.05) * np.float32(0.38)
        canvas.lay(window, alpha, np.array([0.16, 0.14, 0.16], np.float32))


def _legs(canvas: Canvas, body: Anatomy, vary: Variation) -> None:
    tone = _LEG_TONES[int((vary.leg_tone * 0.5 + 0.5) * 2.999)]
    ramp = palette.plain_ramp(tone)
    for light, (hip, foot) in zip((-0.5, 0.2), body.legs, strict=True) if body.legs else ():
        window = canvas.window((*hip, 0.03), (*foot, 0.07))
        if window is None:
            continue
        x, y = canvas.at(window)
        shape = limb(x, y, hip, foot, 0.016, 0.011)
        for toe in ((0.045, 0.006), (0.02, 0.014), (-0.03, 0.006)):
            end = (foot[0] + toe[0], foot[1] + toe[1])
            shape = np.minimum(shape, limb(x, y, foot, end, 0.010, 0.008))
        canvas.shade(window, canvas.coverage(shape), ramp, light)


def _tail(canvas: Canvas, body: Anatomy, vary: Variation, ramp: palette.Ramp) -> None:
    root, tip = body.tail_root, body.tail_tip
    dx, dy = tip[0] - root[0], tip[1] - root[1]
    length = (dx * dx + dy * dy) ** 0.5
    ax, ay = dx / length, dy / length
    fan = {"flying": 1.75, "swimming": 1.15}.get(body.pose, 1.25)
    start, end = body.tail_width * 0.85, body.tail_width * fan
    window = canvas.window((*root, start * 1.5), (*tip, end * 1.3))
    if window is None:
        return
    x, y = canvas.at(window)
    px, py = x - root[0], y - root[1]
    along = (px * ax + py * ay) * (1.0 / length)
    across = py * ax - px * ay
    half = start + np.clip(along, 0, 1) * (end - start)
    turn = across / half
    # Feather ends: a rounded, slightly notched outline.
    limit = 1.0 - 0.10 * turn * turn - 0.035 * np.cos(turn * 8.0)
    distance = np.maximum(np.abs(across) - half, (along - limit) * length)
    distance = np.maximum(distance, -along * length - 0.03)
    light = np.sin(turn * 7.5 + 0.6) * 0.34 + 0.05 + 0.2 * turn * (1 if ax < 0 else -1)
    light -= 0.45 * smoothstep(-0.016, 0.0, distance)
    canvas.shade(window, canvas.coverage(distance), ramp, np.clip(light, -1, 1), "tail")


def _crest(canvas: Canvas, body: Anatomy, vary: Variation, ramp: palette.Ramp) -> None:
    radius = body.head_radius
    height = max(radius * 1.05, 0.085) * (1 + 0.1 * vary.crest)
    for index, (angle, reach) in enumerate(((2.62, 0.85), (2.22, 1.0), (1.82, 0.9))):
        ax, ay = float(np.cos(angle)), -float(np.sin(angle))
        base = (body.head[0] + ax * radius * 0.55, body.head[1] + ay * radius * 0.55)
        tip = (
            base[0] + ax * (height * reach + radius * 0.3) - 0.012,
            base[1] + ay * (height * reach + radius * 0.3),
        )
        window = canvas.window((*base, 0.05), (*tip, 0.03))
        if window is not None:
            shape = limb(*canvas.at(window), base, tip, max(radius * 0.30, 0.026), 0.007)
            light = 0.25 * (index - 1) - 0.4 * smoothstep(-0.012, 0.0, shape)
            canvas.shade(window, canvas.coverage(shape), ramp, light, "crown")


def _beak(canvas: Canvas, body: Anatomy, vary: Variation, shape: str, length_name: str) -> None:
    reach = {"short": 0.080, "long": 0.168}[length_name] * (1 + 0.06 * vary.beak)
    ramp = palette.plain_ramp(_BEAK_TONES[shape][int(vary.beak_tone > 0)])
    (rx, ry), (ax, ay) = body.beak_root, body.beak_axis
    depth = max(body.head_radius * 0.40, 0.044)

    def at(forward: float, upward: float) -> Point:
        return rx + ax * forward + ay * upward, ry + ay * forward - ax * upward

    window = canvas.window((rx, ry, depth * 2.2), (*at(reach, 0), depth * 1.8))
    if window is None:
        return
    x, y = canvas.at(window)
    above = -((x - rx) * -ay + (y - ry) * ax)
    forward = (x - rx) * ax + (y - ry) * ay
    back = -0.04
    if shape == "cone":
        distance = polygon(
            x, y, [at(back, depth * 1.05), at(reach, -0.004), at(back, -depth * 1.05)]
        )
        split = above
    elif shape == "hooked":
        # The upper half bends down over the lower, most of all at its end.
        place = np.clip(forward / reach, 0, 1)
        bend = above + 0.070 * place**2.2 - 0.010
        half = depth * 0.84 * (1 - place) ** 0.7 + 0.014
        distance = np.maximum(np.abs(bend) - half, np.maximum(forward - reach, back - forward))
        split = bend
    elif shape == "needle":
        place = np.clip(forward / reach, 0, 1)
        bend = above + 0.008 * place * place
        half = 0.0155 - 0.006 * place
        distance = np.maximum(np.abs(bend) - half, np.maximum(forward - reach, back - forward))
        split = bend
    else:
        place = np.clip(forward / reach, 0, 1)
        # A duck's bill: low in the middle, broad and round at its end.
        bend = above + 0.012 * np.sin(place * 3.1416) - 0.002
        half = depth * (0.84 - 0.20 * np.sin(place * 2.4))
        blade = np.maximum(np.abs(bend) - half, np.maximum(forward - reach + 0.026, back - forward))
        spoon = ellipse(x, y, at(reach - 0.028, 0.0), (0.038, 0.041), (ax, ay))
        distance = smooth_union(blade, spoon, 0.02)
        split = bend
    light = 0.5 * np.clip(split * 40, -1, 1) - 0.4 * smoothstep(-0.012, 0.0, distance)
    cover = canvas.coverage(distance)
    canvas.shade(window, cover, ramp, np.clip(light, -1, 1), "beak")
    if shape == "hooked":
        tip = cover * smoothstep(reach - 0.034, reach - 0.012, forward)
        canvas.lay(window, tip, np.array([0.16, 0.14, 0.15], np.float32))


def _body(canvas: Canvas, body: Anatomy, vary: Variation, ramps: dict[str, palette.Ramp]) -> None:
    radius, head = body.head_radius, body.head
    trunk_end = body.along(-1.0, 0.0)
    window = canvas.window(
        (*body.centre, body.length * 1.1),
        (*head, radius * 1.1),
        (*trunk_end, body.depth * 0.6),
    )
    if window is None:
        return
    x, y = canvas.at(window)
    trunk = ellipse(x, y, body.centre, (body.length, body.depth), body.axis)
    rump = limb(x, y, body.centre, body.along(-1.05, 0.06), body.depth * 0.8, body.depth * 0.3)
    skull = ellipse(x, y, head, (radius * 1.04, radius * 0.96))
    neck = limb(x, y, body.neck_root, head, min(body.depth * 0.72, radius * 1.15), radius * 0.72)
    shape = smooth_union(smooth_union(trunk, rump, 0.03), neck, 0.06)
    shape = smooth_union(shape, skull, 0.03)
    weights = _regions(x, y, body, skull)
    light = _body_light(x, y, body, vary, shape, skull, canvas)
    matrix = np.stack([ramps[name] for name in weights])
    shares = np.stack(list(weights.values()))
    mixed = np.tensordot(matrix.T, shares, axes=1).astype(np.float32)
    alpha = canvas.coverage(shape)
    canvas.lay(window, alpha, lit(mixed, light))
    if canvas.keep_masks:
        for name, share in weights.items():
            mask = canvas.masks.setdefault(name, np.zeros((canvas.size,) * 2, np.float32))
            mask[window] += alpha * share


def _regions(x: Field, y: Field, body: Anatomy, skull: Field) -> dict[str, Field]:
    """Share of each part in each pixel of the body; the shares add up to one."""
    dx, dy = x - body.centre[0], y - body.centre[1]
    forward = (dx * body.axis[0] + dy * body.axis[1]) * (1.0 / body.length)
    upward = (dx * body.up[0] + dy * body.up[1]) * (1.0 / body.depth)
    radius, edge = body.head_radius, 0.012
    nx, ny = body.head[0] - body.neck_root[0], body.head[1] - body.neck_root[1]
    neck_length = (nx * nx + ny * ny) ** 0.5
    nx, ny = nx / neck_length, ny / neck_length
    # Along the neck from its root, and in front of it.
    rise = (x - body.neck_root[0]) * nx + (y - body.neck_root[1]) * ny
    front = (y - body.neck_root[1]) * nx - (x - body.neck_root[0]) * ny
    soft = edge / body.depth
    back = smoothstep(-soft, soft, upward - 0.04 - 0.25 * np.clip(forward - 0.2, 0, 1))
    on_neck = smoothstep(-0.02, 0.02, rise - 0.02)
    back += on_neck * (smoothstep(edge, -edge, front + radius * 0.1) - back)
    breast = smoothstep(-edge, edge, (forward - 0.02) * body.length + 0.25 * dy)
    breast = np.maximum(breast, on_neck)
    chin = (
        body.head[0] + radius * 0.34 - nx * radius * 0.45,
        body.head[1] + min(radius * 0.95, 0.088),
    )
    reach = min(max(radius * 0.70, 0.066), 0.070)
    throat_shape = ellipse(x, y, chin, (reach * 1.15, reach * 0.95), (nx, ny))
    throat = smoothstep(edge, -edge, throat_shape)
    crown_reach = rise - max(neck_length - radius * 0.95, 0.0)
    crown = np.maximum(
        smoothstep(0.018, -0.006, skull),
        smoothstep(-edge, edge, crown_reach),
    ) * (1 - throat)
    rest = 1 - crown - throat
    return {
        "crown": crown,
        "throat": throat,
        "back": rest * back,
        "breast": rest * (1 - back) * breast,
        "belly": rest * (1 - back) * (1 - breast),
    }


def _body_light(
    x: Field,
    y: Field,
    body: Anatomy,
    vary: Variation,
    shape: Field,
    skull: Field,
    canvas: Canvas,
) -> Field:
    """Light -1..1 on the body as on a soft dome over its outline, with faint feather streaks."""
    depth = np.minimum(body.depth * 0.9, 0.14)
    rise = np.clip(-shape * (1.0 / float(depth)), 0.0, 1.0)
    slope_y, slope_x = np.gradient(shape, canvas.pixel)
    tilt = 1.0 - rise
    light_x, light_y = 0.35 + 0.45 * vary.light_x, -0.85 + 0.15 * vary.light_y
    lambert = tilt * (slope_x * light_x + slope_y * light_y) * 0.85
    lambert += 0.22 * np.sqrt(np.clip(rise * (2 - rise), 0, 1)) + 0.02
    lambert -= (
        0.30
        * smoothstep(0.0, -0.7 * body.head_radius, skull)
        * ((y - body.head[1]) * (1.0 / body.head_radius))
    )
    ahead = (x - body.centre[0]) * body.axis[0] + (y - body.centre[1]) * body.axis[1]
    aside = (x - body.centre[0]) * body.up[0] + (y - body.centre[1]) * body.up[1]
    phase = 6.28 * vary.phases[2]
    streaks = np.sin(aside * 95.0 + 2.2 * np.sin(ahead * 40.0 + phase)) * np.sin(
        ahead * 62.0 + phase
    )
    lambert += 0.10 * streaks
    lambert -= 0.45 * smoothstep(-0.015, 0.0, shape)
    result: Field = np.clip(lambert, -1.0, 1.0).astype(np.float32)
    return result


def _face(canvas: Canvas, body: Anatomy, values: Mapping[str, str]) -> None:
    radius, (hx, hy) = body.head_radius, body.head
    crown = values["crown"]
    if values["cheek_patch"] == "yes":
        tone = (50, 44, 52) if crown in palette.LIGHT_COLOURS else (250, 247, 240)
        centre = (hx - radius * 0.36, hy + radius * 0.38)
        radii = (max(radius * 0.46, 0.054), max(radius * 0.34, 0.042))
        window = canvas.window((*centre, radii[0] * 1.2))
        if window is not None:
            patch = ellipse(*canvas.at(window), centre, radii, (0.94, 0.34))
            canvas.shade(
                window, canvas.coverage(patch), palette.plain_ramp(tone, 0.12), 0.0, "cheek"
            )
    eye = (hx + radius * 0.32, hy - radius * 0.20)
    size = max(body.eye_radius, 0.0235)
    window = canvas.window((*eye, size * 2.4))
    if window is None:
        return
    x, y = canvas.at(window)
    if values["eye_ring"] == "yes":
        tone = {"white": (232, 84, 34), "yellow": (38, 96, 200), "pink": (255, 255, 255)}.get(
            crown, (255, 250, 236)
        )
        ring = disc(x, y, eye, size + max(0.022, size * 0.55))
        canvas.shade(window, canvas.coverage(ring), palette.plain_ramp(tone, 0.1), 0.0, "eye_ring")
    black = np.array([0.05, 0.045, 0.06], np.float32)
    canvas.lay(window, canvas.coverage(disc(x, y, eye, size)), black, "eye")
    glint = (eye[0] + size * 0.32, eye[1] - size * 0.36)
    canvas.lay(
        window,
        canvas.coverage(disc(x, y, glint, size * 0.36)),
        np.array([1.0, 1.0, 1.0], np.float32),
    )


def _waterline(canvas: Canvas, body: Anatomy, vary: Variation, water: Field) -> None:
    """Sink the bird to the water and mirror it there, broken by ripples."""
    size, line = canvas.size, body.line
    first = max(0, int(line * size) - 2)
    if first >= size:
        return
    window = (slice(first, size), slice(0, size))
    x, y = canvas.at(window)
    level = line + 0.006 * np.sin(x * 22.0 + 6.28 * vary.phases[3])
    below = np.clip((y - level) * size + 0.5, 0.0, 1.0)
    rows = np.arange(first, size)
    mirrored = np.clip((2 * line * size - rows - 0.5).astype(np.int64), 0, size - 1)
    sway = np.rint(np.sin(rows / size * 90.0) * 0.008 * size).astype(np.int64)
    columns = np.clip(np.arange(size)[None, :] + sway[:, None], 0, size - 1)
    reflection = canvas.rgb[:, mirrored[:, None], columns]
    scene = water[:, mirrored[:, None], columns]
    # Only what differs from the empty scene is mirrored: the water keeps its own colour.
    strength = 0.42 * np.exp((line - y) * 4.0)
    surface = water[:, first:, :] + (reflection - scene) * strength
    canvas.lay(window, below.astype(np.float32), np.clip(surface, 0, 1).astype(np.float32))
    foam = np.abs(y - level - 0.006) - 0.004
    reach = ellipse(x, y, (body.centre[0], line), (body.length * 1.15, 0.05))
    alpha = canvas.coverage(foam) * canvas.coverage(reach, 0.06) * np.float32(0.55)
    canvas.lay(window, alpha, np.array([0.95, 0.98, 1.0], np.float32))
