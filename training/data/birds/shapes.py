"""Signed distances and a canvas: anti-aliased painting in plain numpy.

Lengths are fractions of the picture's edge, x to the right and y down, so that a drawing is
the same at every size. A shape is a field of signed distances, negative inside; a pixel is
covered by as much as the distance leaves it: coverage = 0.5 - distance / pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
"""Numbers over pixels; all are float32 in fact, which the stubs of numpy lose sight of."""
Point = tuple[float, float]
Window = tuple[slice, slice]


def ellipse(x: Field, y: Field, centre: Point, radii: Point, axis: Point = (1.0, 0.0)) -> Field:
    """Distance to an ellipse whose first radius lies along the unit vector `axis`."""
    dx, dy = x - centre[0], y - centre[1]
    along = (dx * axis[0] + dy * axis[1]) * (1.0 / radii[0])
    across = (dy * axis[0] - dx * axis[1]) * (1.0 / radii[1])
    near = np.sqrt(along * along + across * across)
    along *= 1.0 / radii[0]
    across *= 1.0 / radii[1]
    slope = np.sqrt(along * along + across * across) + np.float32(1e-6)
    result: Field = near * (near - 1.0) / slope
    return result


def disc(x: Field, y: Field, centre: Point, radius: float) -> Field:
    """Distance to a disc."""
    dx, dy = x - centre[0], y - centre[1]
    result: Field = np.sqrt(dx * dx + dy * dy) - np.float32(radius)
    return result


def limb(x: Field, y: Field, start: Point, end: Point, r_start: float, r_end: float) -> Field:
    """Distance to a rounded limb that tapers from `r_start` to `r_end`."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    dx, dy = x - start[0], y - start[1]
    place = (dx * along_x + dy * along_y) / (along_x * along_x + along_y * along_y + 1e-9)
    np.clip(place, 0.0, 1.0, out=place)
    dx -= place * along_x
    dy -= place * along_y
    result: Field = np.sqrt(dx * dx + dy * dy) - (r_start + place * (r_end - r_start))
    return result


def polygon(x: Field, y: Field, corners: list[Point]) -> Field:
    """Distance to a convex polygon, corners in the order in which the y-down eye turns right."""
    result: Field | None = None
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = x1 - x0, y1 - y0
        length = (ex * ex + ey * ey) ** 0.5 + 1e-9
        side = (x - x0) * (ey / length) - (y - y0) * (ex / length)
        result = side if result is None else np.maximum(result, side)
    assert result is not None
    return result


def smooth_union(one: Field, other: Field, blend: float) -> Field:
    """Union of two shapes whose seam is rounded over a length of `blend`."""
    share = np.clip(0.5 + (other - one) * (0.5 / blend), 0.0, 1.0)
    result: Field = other + (one - other) * share - np.float32(blend) * share * (1.0 - share)
    return result


def smoothstep(low: float, high: float, value: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between (also downwards, when low > high)."""
    place = np.clip((value - low) * (1.0 / (high - low)), 0.0, 1.0)
    result: Field = place * place * (3.0 - 2.0 * place)
    return result


@dataclass
class Canvas:
    """A picture being painted, float32 (3, size, size) in 0..1.

    With `masks`, the visible coverage of every named part is kept beside the picture.
    """

    size: int
    keep_masks: bool = False
    rgb: Field = field(init=False)
    x: Field = field(init=False)
    y: Field = field(init=False)
    masks: dict[str, Field] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        centres = (np.arange(self.size, dtype=np.float32) + np.float32(0.5)) / np.float32(self.size)
        self.x = np.broadcast_to(centres[None, :], (self.size, self.size))
        self.y = np.broadcast_to(centres[:, None], (self.size, self.size))
        self.rgb = np.zeros((3, self.size, self.size), dtype=np.float32)

    @property
    def pixel(self) -> float:
        """Edge of a pixel."""
        return 1.0 / self.size

    def window(self, *around: tuple[float, float, float]) -> Window | None:
        """The pixels around some discs (x, y, radius), or None when all lie outside."""
        margin = 1.5 * self.pixel
        low_x = min(px - r for px, _, r in around) - margin
        high_x = max(px + r for px, _, r in around) + margin
        low_y = min(py - r for _, py, r in around) - margin
        high_y = max(py + r for _, py, r in around) + margin
        columns = slice(max(0, int(low_x * self.size)), min(self.size, int(high_x * self.size) + 1))
        rows = slice(max(0, int(low_y * self.size)), min(self.size, int(high_y * self.size) + 1))
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return None
        return rows, columns

    def at(self, window: Window) -> tuple[Field, Field]:
        """Coordinates x and y of the pixels of a window."""
        return self.x[window], self.y[window]

    def coverage(self, distance: Field, soft: float = 0.0) -> Field:
        """Coverage 0..1; `soft` is the width of an out-of-focus edge."""
        width = max(self.pixel, soft)
        result: Field = np.clip(0.5 - distance * (1.0 / width), 0.0, 1.0)
        return result

    def lay(
        self,
        window: Window,
        alpha: Field,
        colour: Field,
        part: str | None = None,
    ) -> None:
        """Lay a colour ((3,), or (3, h, w)) over a window with coverage `alpha`."""
        if colour.ndim == 1:
            colour = colour[:, None, None]
        target = self.rgb[:, window[0], window[1]]
        target += alpha * (colour - target)
        if self.keep_masks:
            for mask in self.masks.values():
                mask[window] *= 1.0 - alpha
            if part is not None:
                mask = self.masks.setdefault(
                    part, np.zeros((self.size, self.size), dtype=np.float32)
                )
                mask[window] += alpha

    def shade(
        self,
        window: Window,
        alpha: Field,
        ramp: Field,
        light: Field | float,
        part: str | None = None,
    ) -> None:
        """Lay a colour ramp lit by `light` in -1 (shadow) .. 1 (light)."""
        self.lay(window, alpha, lit(ramp[:, None, None], np.asarray(light, np.float32)), part)

    def bytes(self) -> NDArray[np.uint8]:
        """The picture as uint8 (size, size, 3)."""
        scaled = np.clip(self.rgb * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(scaled.transpose(1, 2, 0))


def lit(ramp: Field, light: Field) -> Field:
    """Colours (3, h, w) of ramps (9, h, w) under `light` (h, w) in -1..1."""
    shadow, base, bright = ramp[0:3], ramp[3:6], ramp[6:9]
    up, down = np.clip(light, 0.0, 1.0), np.clip(-light, 0.0, 1.0)
    result: Field = base + up * (bright - base) + down * (shadow - base)
    return result
