"""Small plots drawn with Pillow: lines with axes, ticks and a legend; points in the plane.

Enough for losses, scores and two-dimensional samples; whoever wants more plots the JSON.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from t2i.errors import InvalidInput
from t2i.files import write_atomically

Colour = tuple[int, int, int]

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (0, 0, 0),
    (150, 120, 40),
)
_INK, _FAINT, _PAPER = (34, 34, 40), (222, 222, 222), (255, 255, 255)
_FONT = 12
_LINE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One line of a chart, or one cloud of points.

    Attributes:
        name: in the legend; none when empty.
        x: (n,) numbers.
        y: (n,) numbers; what is not finite breaks the line.
        dashed: for floors and references.
        colour: a place in `COLOURS`; the next free one when None.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    dashed: bool = False
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: int
    stop: int
    log: bool = False

    def place(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = self.low, self.high
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                value = np.log10(value)
            low, high = math.log10(low), math.log10(high)
        placed: NDArray[np.float64] = self.start + (value - low) / (high - low) * (
            self.stop - self.start
        )
        return placed

    def ticks(self) -> list[float]:
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            decades = [10.0**power for power in range(first, last + 1)]
            if len(decades) >= 2:
                return decades[:: 1 + len(decades) // 7]
        return ticks(self.low, self.high)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= rough * 0.7)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    # From whole numbers, so that 3 · 0.1 is written 0.3.
    return [round(place * step, 12) for place in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    size: tuple[int, int] = (520, 340),
) -> Image.Image:
    """Return a chart of lines with axes, ticks and a legend.

    Args:
        series: lines; a line of one point is drawn as a dot.
        title: above the chart.
        x_label: below the chart.
        y_label: above the y axis.
        log_x: logarithmic; what is not positive is left out.
        log_y: the same for y.
        size: width and height in pixels.

    Raises:
        InvalidInput: there is no number to draw, or x and y differ in length.
    """
    return _chart(series, title, x_label, y_label, log_x, log_y, size, points=False, square=False)


def scatter_plot(
    series: Sequence[Series],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    limits: tuple[float, float] | None = None,
    radius: float = 1.5,
    size: tuple[int, int] = (420, 420),
) -> Image.Image:
    """Return points in the plane, with one scale for both axes.

    Args:
        series: clouds, drawn in order: put what must be seen last.
        title: above the plot.
        x_label: below the plot.
        y_label: above the y axis.
        limits: both axes run from and to here; what lies outside is left out. As wide as the
            points when not given.
        radius: of a point in pixels.
        size: width and height in pixels.

    Raises:
        InvalidInput: there is no number to draw, or x and y differ in length.
    """
    return _chart(
        series, title, x_label, y_label, False, False, size,
        points=True, square=True, limits=limits, radius=radius,
    )  # fmt: skip


def panels(charts: Sequence[Image.Image], columns: int = 2) -> Image.Image:
    """Return charts beside and below each other on one sheet.

    Raises:
        InvalidInput: there is no chart.
    """
    if not charts or columns < 1:
        raise InvalidInput("charts", len(charts), "hold nothing to show", "give 1 or more")
    width = max(chart.width for chart in charts)
    height = max(chart.height for chart in charts)
    columns = min(columns, len(charts))
    sheet = Image.new("RGB", (columns * width, -(-len(charts) // columns) * height), _PAPER)
    for index, chart in enumerate(charts):
        sheet.paste(chart, (index % columns * width, index // columns * height))
    return sheet


def save_plot(image: Image.Image, path: Path) -> Path:
    """Write a plot as PNG and return its path; the file appears whole or not at all.

    Raises:
        InvalidInput: the path does not end in .png, or its folder does not exist.
    """
    if path.suffix.lower() != ".png":
        raise InvalidInput("plot", path.name, "is no PNG file", "end it in .png")
    if not path.absolute().parent.is_dir():
        raise InvalidInput("plot", str(path), "lies in a folder that does not exist", "make it")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return write_atomically(path, buffer.getvalue())


def _chart(
    series: Sequence[Series],
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool,
    log_y: bool,
    size: tuple[int, int],
    *,
    points: bool,
    square: bool,
    limits: tuple[float, float] | None = None,
    radius: float = 2.5,
) -> Image.Image:
    # Drawn at twice the size and halved: Pillow's lines have hard edges.
    scale = 2
    font = ImageFont.load_default(_FONT * scale)
    data = [_numbers(each, log_x, log_y) for each in series]
    legend = [index for index, each in enumerate(series) if each.name]
    width, height = size[0] * scale, size[1] * scale
    line = _LINE * scale
    top = line * (1 + (title != "") + (y_label != "")) - line // 2
    columns = max(1, min(3, size[0] // 170))
    rows = -(-len(legend) // columns)
    bottom = height - line * (2 + rows + (x_label != ""))
    x_low, x_high = limits or _range([x for x, _ in data], log_x)
    y_low, y_high = limits or _range([y for _, y in data], log_y)
    left, right = _LINE * scale * 4, width - line
    if bottom - top < 2 * line or right - left < 2 * line:
        raise InvalidInput("size", size, "leaves no room for the chart", "make it larger")
    if square:
        # The same number of pixels for one unit on both axes.
        unit = max((x_high - x_low) / (right - left), (y_high - y_low) / (bottom - top))
        x_middle, y_middle = (x_low + x_high) / 2, (y_low + y_high) / 2
        side_x, side_y = (right - left) * unit / 2, (bottom - top) * unit / 2
        x_low, x_high = x_middle - side_x, x_middle + side_x
        y_low, y_high = y_middle - side_y, y_middle + side_y
    x_axis = _Axis(x_low, x_high, left, right, log_x)
    y_axis = _Axis(y_low, y_high, bottom, top, log_y)

    image = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(image)
    for tick in x_axis.ticks():
        x = float(x_axis.place(np.array(tick)))
        pen.line([(x, top), (x, bottom)], fill=_FAINT, width=scale)
        pen.text((x, bottom + line // 4), f"{tick:g}", fill=_INK, font=font, anchor="ma")
    for tick in y_axis.ticks():
        y = float(y_axis.place(np.array(tick)))
        pen.line([(left, y), (right, y)], fill=_FAINT, width=scale)
        pen.text((left - line // 3, y), f"{tick:g}", fill=_INK, font=font, anchor="rm")

    # What leaves the frame is cut off by painting on a layer of the frame's own size.
    frame = image.crop((left, top, right, bottom))
    inner = ImageDraw.Draw(frame)
    for index, (each, (xs, ys)) in enumerate(zip(series, data, strict=True)):
        colour = COLOURS[(index if each.colour is None else each.colour) % len(COLOURS)]
        places = np.stack([x_axis.place(xs) - left, y_axis.place(ys) - top], axis=1)
        if points:
            _dots(inner, places, colour, radius * scale)
        else:
            _lines(inner, places, colour, each.dashed, scale)
    image.paste(frame, (left, top))
    pen.rectangle([left, top, right, bottom], outline=_INK, width=scale)

    if title:
        pen.text((width // 2, line // 4), title, fill=_INK, font=font, anchor="ma")
    if y_label:
        pen.text((line // 4, top - line), y_label, fill=_INK, font=font)
    if x_label:
        middle = (left + right) // 2
        pen.text((middle, bottom + line * 5 // 4), x_label, fill=_INK, font=font, anchor="ma")
    for place, index in enumerate(legend):
        each = series[index]
        colour = COLOURS[(index if each.colour is None else each.colour) % len(COLOURS)]
        x = left + place % columns * (right - left) // columns
        y = height - line * (rows - place // columns) - line // 4
        mark = np.array([[x, y + line // 2], [x + line, y + line // 2]], np.float64)
        if points:
            _dots(pen, mark.mean(axis=0, keepdims=True), colour, 4 * scale)
        else:
            _lines(pen, mark, colour, each.dashed, scale)
        room = (right - left) // columns - 2 * line
        text = _cut(each.name, room, font)
        pen.text((x + line * 5 // 4, y), text, fill=_INK, font=font)
    return image.resize(size, Image.Resampling.LANCZOS)


def _numbers(
    series: Series, log_x: bool, log_y: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x = np.asarray(series.x, np.float64).reshape(-1)
    y = np.asarray(series.y, np.float64).reshape(-1)
    if x.shape != y.shape:
        raise InvalidInput(
            "series", series.name, f"has {len(x)} x and {len(y)} y", "give as many of both"
        )
    good = np.isfinite(x) & np.isfinite(y)
    good &= (x > 0 if log_x else True) & (y > 0 if log_y else True)
    return np.where(good, x, np.nan), np.where(good, y, np.nan)


def _range(parts: Sequence[NDArray[np.float64]], log: bool) -> tuple[float, float]:
    values = np.concatenate([part[np.isfinite(part)] for part in parts]) if parts else np.empty(0)
    if not len(values):
        raise InvalidInput("series", len(parts), "hold no number to draw", "give 1 or more")
    low, high = float(values.min()), float(values.max())
    if log:
        factor = (high / low) ** 0.04 if high > low else 2.0
        return low / factor, high * factor
    edge = 0.04 * (high - low) if high > low else max(abs(low) * 0.1, 0.5)
    return low - edge, high + edge


def _lines(
    pen: ImageDraw.ImageDraw, places: NDArray[np.float64], colour: Colour, dashed: bool, scale: int
) -> None:
    broken = np.flatnonzero(~np.isfinite(places).all(axis=1))
    for run in np.split(places, broken):
        points = [(float(x), float(y)) for x, y in run if np.isfinite(x) and np.isfinite(y)]
        if len(points) == 1:
            _dots(pen, np.array(points), colour, 3.0 * scale)
        elif dashed:
            _dashes(pen, points, colour, scale)
        elif points:
            pen.line(points, fill=colour, width=2 * scale, joint="curve")


def _dashes(
    pen: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: Colour, scale: int
) -> None:
    """Draw a line of dashes, whose rhythm goes on through corners."""
    dash, walked = 6.0 * scale, 0.0
    for (x, y), (to_x, to_y) in pairwise(points):
        length = math.hypot(to_x - x, to_y - y)
        done = 0.0
        while done < length:
            step = min(dash - walked % dash, length - done)
            if int((walked + 1e-9) // dash) % 2 == 0:
                a, b = done / length, (done + step) / length
                ends = [
                    (x + a * (to_x - x), y + a * (to_y - y)),
                    (x + b * (to_x - x), y + b * (to_y - y)),
                ]
                pen.line(ends, fill=colour, width=2 * scale)
            done += step
            walked += max(step, 1e-6)


def _dots(
    pen: ImageDraw.ImageDraw, places: NDArray[np.float64], colour: Colour, radius: float
) -> None:
    for x, y in places[np.isfinite(places).all(axis=1)].tolist():
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def _cut(text: str, room: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text + "…"


def curves(
    named: Mapping[str, tuple[ArrayLike, ArrayLike]], *, dashed: Mapping[str, float] | None = None
) -> list[Series]:
    """Return one line for each name, and a dashed one at each named height (such as floors).

    Args:
        named: name -> x and y.
        dashed: name -> height; runs across all x, in the colour of the line of that name.
    """
    made = [Series(name, x, y) for name, (x, y) in named.items()]
    order = {name: place for place, name in enumerate(named)}
    ends = [float(value) for x, _ in named.values() for value in np.asarray(x).reshape(-1)]
    for name, height in (dashed or {}).items():
        across = [min(ends, default=0.0), max(ends, default=1.0)]
        made.append(
            Series("", across, [height, height], dashed=True, colour=order.get(name, len(order)))
        )
    return made
