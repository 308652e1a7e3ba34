"""Out-of-focus settings behind the birds, and what stands in front of them.

A setting fixes what is seen; the light, the tints and the places of clouds and bokeh come
from the bird's variation and are named in no caption.
"""

from __future__ import annotations

import numpy as np

from training.data.birds.shapes import Canvas, Field, disc, ellipse, limb, smoothstep

_RGB = tuple[int, int, int]


def _colour(rgb: _RGB, rng: np.random.Generator, spread: float = 0.03) -> Field:
    shift = (rng.random(3) - 0.5) * 2 * spread + (rng.random() - 0.5) * 2 * spread
    return np.clip(np.array(rgb) / 255 + shift, 0, 1).astype(np.float32)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + float(rng.random()) * (high - low)


def _gradient(canvas: Canvas, *stops: tuple[float, Field]) -> None:
    """Fill the canvas from top to bottom through colours at given heights."""
    rows = canvas.y[:, 0]
    heights = [height for height, _ in stops]
    for channel in range(3):
        values = [float(colour[channel]) for _, colour in stops]
        canvas.rgb[channel] = np.interp(rows, heights, values).astype(np.float32)[:, None]


def _blur_disc(
    canvas: Canvas, x: float, y: float, radius: float, colour: Field, opacity: float, soft: float
) -> None:
    window = canvas.window((x, y, radius + soft))
    if window is None:
        return
    distance = disc(*canvas.at(window), (x, y), radius)
    canvas.lay(window, canvas.coverage(distance, soft) * np.float32(opacity), colour)


def _bokeh(
    canvas: Canvas,
    rng: np.random.Generator,
    colours: tuple[_RGB, ...],
    count: int,
    *,
    top: float = 0.0,
    bottom: float = 1.0,
    radii: tuple[float, float] = (0.05, 0.16),
    opacity: float = 0.45,
    soft: float = 0.05,
) -> None:
    for index in range(count):
        _blur_disc(
            canvas,
            _between(rng, -0.05, 1.05),
            _between(rng, top, bottom),
            _between(rng, *radii),
            _colour(colours[index % len(colours)], rng),
            opacity * _between(rng, 0.5, 1.0),
            soft,
        )


def _band(canvas: Canvas, start: float, soft: float, top: Field, bottom: Field) -> None:
    """A ground from height `start` down to the lower edge, `top` colour to `bottom` colour."""
    rows = canvas.y[:, 0]
    alpha = smoothstep(start - soft, start + soft, rows)[:, None]
    place = np.clip((rows - start) / max(1.0 - start, 1e-3), 0, 1)[:, None]
    colour = top[:, None, None] + place * (bottom - top)[:, None, None]
    canvas.rgb += alpha * (colour - canvas.rgb)


def _ripples(canvas: Canvas, rng: np.random.Generator, start: float, depth: float) -> None:
    """Soft horizontal glints on water that begins at height `start`."""
    x, y = canvas.x, canvas.y
    phase, bend = _between(rng, 0, 6.28), _between(rng, 0, 6.28)
    below = np.clip((y - start) * 6.0, 0.0, 1.0)
    waves = np.sin((y - start) * 62.0 + 1.6 * np.sin(x * 9.0 + bend) + phase)
    waves *= np.sin(x * 7.0 + y * 21.0 + bend)
    canvas.rgb += (below * waves * np.float32(depth))[None]


def _clouds(canvas: Canvas, rng: np.random.Generator, colour: Field, top: float) -> None:
    for _ in range(2):
        x, y = _between(rng, 0.0, 1.0), top + _between(rng, 0.0, 0.7)
        for _ in range(4):
            _blur_disc(
                canvas,
                x + _between(rng, -0.16, 0.16),
                y + _between(rng, -0.04, 0.04),
                _between(rng, 0.06, 0.11),
                colour,
                0.5,
                0.1,
            )


def _sky(canvas: Canvas, rng: np.random.Generator) -> None:
    high = _colour((104, 172, 226), rng)
    low = _colour((196, 226, 244), rng)
    _gradient(canvas, (0.0, high), (1.0, low))
    _clouds(canvas, rng, np.array([0.96, 0.98, 1.0], np.float32), 0.1)


def _forest(canvas: Canvas, rng: np.random.Generator, pose: str, line: float) -> None:
    _gradient(
        canvas,
        (0.0, _colour((104, 140, 92), rng)),
        (0.6, _colour((74, 112, 76), rng)),
        (1.0, _colour((54, 86, 60), rng)),
    )
    for _ in range(2):
        x, width = _between(rng, 0.0, 1.0), _between(rng, 0.03, 0.06)
        lean = _between(rng, -0.06, 0.06)
        window = (slice(0, canvas.size), slice(0, canvas.size))
        trunk = limb(canvas.x, canvas.y, (x, -0.2), (x + lean, 1.2), width, width * 1.3)
        canvas.lay(
            window, canvas.coverage(trunk, 0.06) * np.float32(0.6), _colour((58, 50, 40), rng)
        )
    greens = ((146, 182, 108), (98, 142, 84), (176, 204, 128), (70, 110, 74))
    _bokeh(canvas, rng, greens, 12)
    if pose == "ground":
        _band(canvas, line, 0.03, _colour((122, 98, 70), rng), _colour((88, 70, 52), rng))
        leaves = ((140, 96, 52), (92, 70, 44), (120, 110, 58))
        _bokeh(canvas, rng, leaves, 12, top=line, radii=(0.015, 0.03), opacity=0.7, soft=0.02)
    elif pose == "swimming":
        _band(canvas, line, 0.02, _colour((96, 132, 106), rng), _colour((48, 84, 76), rng))
        _ripples(canvas, rng, line, 0.05)


def _meadow(canvas: Canvas, rng: np.random.Generator, pose: str, line: float) -> None:
    _gradient(
        canvas,
        (0.0, _colour((214, 232, 206), rng)),
        (0.5, _colour((192, 216, 140), rng)),
        (1.0, _colour((142, 186, 88), rng)),
    )
    _bokeh(canvas, rng, ((226, 236, 176), (170, 206, 110)), 8, opacity=0.4, soft=0.08)
    if pose == "ground":
        _band(canvas, line, 0.03, _colour((150, 192, 92), rng), _colour((98, 150, 62), rng))
        _grass(canvas, rng, line)
    flowers = ((250, 250, 240), (246, 214, 90), (222, 130, 170))
    top = line + 0.03 if pose == "ground" else 0.45
    _bokeh(canvas, rng, flowers, 9, top=top, radii=(0.01, 0.022), opacity=0.9, soft=0.015)


def _grass(canvas: Canvas, rng: np.random.Generator, line: float) -> None:
    for index in range(14):
        x, y = _between(rng, 0.0, 1.0), _between(rng, line, 1.0)
        tip = (x + _between(rng, -0.03, 0.03), y - _between(rng, 0.05, 0.09))
        window = canvas.window((x, y, 0.02), (*tip, 0.02))
        if window is not None:
            blade = limb(*canvas.at(window), (x, y), tip, 0.009, 0.002)
            tone = (176, 212, 112) if index % 2 else (88, 140, 58)
            canvas.lay(window, canvas.coverage(blade, 0.015) * np.float32(0.7), _colour(tone, rng))


def _snow(canvas: Canvas, rng: np.random.Generator, pose: str, line: float) -> None:
    _gradient(
        canvas,
        (0.0, _colour((176, 192, 212), rng)),
        (0.7, _colour((206, 216, 228), rng)),
        (1.0, _colour((222, 230, 238), rng)),
    )
    for _ in range(4):
        x, y = _between(rng, 0.0, 1.0), _between(rng, 0.25, 0.6)
        window = canvas.window((x, y, 0.1), (x, 1.0, 0.1))
        if window is not None:
            fir = limb(*canvas.at(window), (x, y), (x, y + 0.5), 0.01, 0.09)
            canvas.lay(
                window, canvas.coverage(fir, 0.08) * np.float32(0.5), _colour((128, 150, 166), rng)
            )
    if pose == "ground":
        _band(
            canvas, line, 0.02, _colour((234, 240, 247), rng, 0.015), _colour((204, 218, 234), rng)
        )
    for _ in range(16):
        _blur_disc(
            canvas,
            _between(rng, 0.0, 1.0),
            _between(rng, 0.0, 1.0),
            _between(rng, 0.008, 0.016),
            np.ones(3, np.float32),
            0.85,
            0.015,
        )


def _desert(canvas: Canvas, rng: np.random.Generator, pose: str, line: float) -> None:
    horizon = line - 0.08 if pose == "ground" else _between(rng, 0.68, 0.76)
    _gradient(
        canvas,
        (0.0, _colour((150, 204, 216), rng)),
        (horizon, _colour((250, 228, 192), rng)),
        (1.0, _colour((250, 228, 192), rng)),
    )
    for shade, rise in (((226, 186, 138), 0.0), ((214, 168, 116), 0.07)):
        tone, x = _colour(shade, rng), _between(rng, 0.1, 0.9)
        window = (slice(0, canvas.size), slice(0, canvas.size))
        dune = ellipse(canvas.x, canvas.y, (x, 1.1 + rise), (0.95, 1.1 - horizon))
        canvas.lay(window, canvas.coverage(dune, 0.03), tone)
    _band(
        canvas,
        max(line, horizon + 0.1),
        0.03,
        _colour((222, 178, 124), rng),
        _colour((196, 148, 98), rng),
    )


def _water(canvas: Canvas, rng: np.random.Generator, pose: str, line: float) -> None:
    horizon = line - 0.32 if pose == "swimming" else _between(rng, 0.62, 0.7)
    horizon = max(horizon, 0.16)
    pale = _colour((206, 226, 230), rng)
    _gradient(canvas, (0.0, _colour((168, 204, 222), rng)), (horizon, pale), (1.0, pale))
    _bokeh(
        canvas,
        rng,
        ((140, 170, 160),),
        5,
        top=horizon - 0.03,
        bottom=horizon,
        radii=(0.04, 0.09),
        opacity=0.6,
    )
    _band(canvas, horizon, 0.012, _colour((120, 182, 192), rng), _colour((34, 110, 138), rng))
    _ripples(canvas, rng, horizon, 0.06)


def _sunset(canvas: Canvas, rng: np.random.Generator, pose: str, line: float) -> None:
    horizon = line - 0.3 if pose == "swimming" else _between(rng, 0.78, 0.86)
    horizon = max(horizon, 0.2)
    _gradient(
        canvas,
        (0.0, _colour((112, 84, 138), rng)),
        (horizon * 0.55, _colour((222, 130, 122), rng)),
        (horizon, _colour((252, 206, 128), rng)),
        (1.0, _colour((252, 206, 128), rng)),
    )
    sun = (_between(rng, 0.1, 0.9), horizon - _between(rng, 0.06, 0.14))
    _blur_disc(canvas, *sun, 0.16, np.array([1.0, 0.9, 0.6], np.float32), 0.5, 0.2)
    _blur_disc(canvas, *sun, 0.07, np.array([1.0, 0.96, 0.8], np.float32), 0.95, 0.03)
    for _ in range(3):
        y, x = _between(rng, 0.08, horizon), _between(rng, 0.0, 1.0)
        window = canvas.window((x - 0.25, y, 0.06), (x + 0.25, y, 0.06))
        if window is not None:
            streak = ellipse(*canvas.at(window), (x, y), (0.22, 0.018))
            canvas.lay(
                window,
                canvas.coverage(streak, 0.05) * np.float32(0.5),
                _colour((236, 160, 150), rng),
            )
    if pose == "swimming":
        _band(canvas, horizon, 0.012, _colour((226, 158, 122), rng), _colour((92, 66, 112), rng))
        _ripples(canvas, rng, horizon, 0.07)
    else:
        _band(canvas, horizon, 0.03, _colour((112, 78, 104), rng), _colour((70, 52, 84), rng))


def paint_setting(
    canvas: Canvas, setting: str, pose: str, line: float, rng: np.random.Generator
) -> None:
    """Fill the canvas with a setting; `line` is the height of the ground or the water."""
    match setting:
        case "sky":
            _sky(canvas, rng)
        case "forest":
            _forest(canvas, rng, pose, line)
        case "meadow":
            _meadow(canvas, rng, pose, line)
        case "snow":
            _snow(canvas, rng, pose, line)
        case "desert":
            _desert(canvas, rng, pose, line)
        case "water":
            _water(canvas, rng, pose, line)
        case "sunset":
            _sunset(canvas, rng, pose, line)
        case _:
            raise ValueError(f"unknown setting {setting!r}")
    np.clip(canvas.rgb, 0.0, 1.0, out=canvas.rgb)


def paint_branch(
    canvas: Canvas, feet: tuple[float, float], snowy: bool, rng: np.random.Generator
) -> None:
    """A branch across the picture whose upper edge passes under the feet."""
    slope, radius = _between(rng, -0.12, 0.12), _between(rng, 0.03, 0.04)
    x, y = feet
    y += radius
    start, end = (-0.1, y - slope * (x + 0.1)), (1.1, y + slope * (1.1 - x))
    window = canvas.window((*start, 0.06), (*end, 0.06))
    if window is None:
        return
    px, py = canvas.at(window)
    distance = limb(px, py, start, end, radius * 1.1, radius * 0.85)
    across = (py - (y + slope * (px - x))) * (1.0 / radius)
    bark = np.sin(px * 46.0 + 3.0 * np.sin(px * 17.0) + across * 2.0) * 0.12
    tone = _colour((112, 84, 62), rng)
    light = np.clip(0.95 - 0.36 * across + bark, 0.4, 1.35)
    canvas.lay(window, canvas.coverage(distance), tone[:, None, None] * light[None])
    if snowy:
        cap = np.maximum(distance, (across + 0.35) * radius)
        canvas.lay(window, canvas.coverage(cap), _colour((240, 245, 250), rng, 0.01))
    twig_x = _between(rng, 0.05, 0.2) if rng.random() < 0.5 else _between(rng, 0.8, 0.95)
    base = (twig_x, y + slope * (twig_x - x))
    tip = (twig_x + _between(rng, -0.08, 0.08), base[1] - _between(rng, 0.1, 0.16))
    window = canvas.window((*base, 0.05), (*tip, 0.05))
    if window is not None:
        px, py = canvas.at(window)
        canvas.lay(
            window, canvas.coverage(limb(px, py, base, tip, 0.014, 0.008)), tone * np.float32(0.9)
        )
        leaf = (236, 242, 248) if snowy else (126, 160, 76)
        centre = (tip[0] + 0.02, tip[1])
        blade = ellipse(px, py, centre, (0.034, 0.018), (0.8, -0.6))
        canvas.lay(window, canvas.coverage(blade), _colour(leaf, rng))
