"""Decodes one picture file into the square that training sees.

The rule: the orientation that the camera noted is applied; transparency is laid on white; greys,
palettes and CMYK become RGB; of animations the first frame is taken; colour profiles are not
applied. The largest centred square, or one around the box of what the picture shows, is cut out and
resized with Lanczos, after averaging whole blocks of pixels where it is at least three times too
large.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from training.data.listing import Box
from training.data.pictures import Fault, FaultKind

# Part of the key of every cache: raise it when the rule above changes.
RULE_VERSION = 1

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_DEEP_GREY = ("I", "F")
_SIDEWAYS = (5, 6, 7, 8)
_FACE = 8
# As large as the longer side of a box, times this: as StackGAN and those after it cut their birds.
_AROUND = 1.5


@dataclass(frozen=True)
class Decoded:
    """A picture, and what the file was like.

    Attributes:
        pixels: `(resolution, resolution, 3)` uint8, RGB.
        sha256: hex digest of the bytes of the file.
        width: of the whole picture as shown, in pixels.
        height: of the whole picture as shown, in pixels.
        side: of the square that was cut out of it, in pixels.
        mode: Pillow's name of the pixel format, such as "RGB" or "L".
        format: of the file, such as "JPEG".
        outline: 64 bits, whether each pixel of a small grey version is brighter than its right
            neighbour (dHash): nearly the same for pictures that look the same.
        face: `(8, 8, 3)` uint8, the square made tiny: settles whether equal outlines are equal
            pictures.
    """

    pixels: NDArray[np.uint8]
    sha256: str
    width: int
    height: int
    side: int
    mode: str
    format: str
    outline: int
    face: NDArray[np.uint8]


def decode(
    load: Callable[[], bytes],
    file: str,
    resolution: int,
    min_side: int,
    box: Box | None = None,
) -> Decoded | Fault:
    """Read a picture file, or tell what is wrong with it.

    Args:
        load: returns its contents, or raises OSError.
        file: what to call it in a fault.
        resolution: side of the square in pixels.
        min_side: pictures whose shorter side is shorter, in pixels, are faults.
        box: left, top, width and height in pixels of what the picture shows: the square is cut out
            around its centre, one and a half times as large as its longer side, at least
            `min_side`, and moved or made smaller where it would leave the picture.
    """
    try:
        content = load()
    except OSError as error:
        return Fault(file, FaultKind.UNREADABLE, error.strerror or type(error).__name__)
    if not content:
        return Fault(file, FaultKind.EMPTY, "0 bytes")
    try:
        with Image.open(io.BytesIO(content)) as picture:
            mode, form = picture.mode, picture.format or "?"
            width, height = picture.size
            if min(width, height) < min_side:
                return Fault(
                    file,
                    FaultKind.TOO_SMALL,
                    f"{width} x {height} pixels, at least {min_side} needed",
                )
            if mode in _DEEP_GREY:
                return Fault(file, FaultKind.UNREADABLE, f"pixels of mode {mode}; save it as RGB")
            # JPEG files decode to a half, a quarter or an eighth for a fraction of the price.
            scale = 2 * resolution / _side(width, height, min_side, box)
            picture.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            if picture.getexif().get(ExifTags.Base.Orientation, 1) in _SIDEWAYS:
                width, height = height, width
            side = _side(width, height, min_side, box)
            if box is not None and not (box[0] < width and box[1] < height):
                return Fault(
                    file,
                    FaultKind.BAD_LINE,
                    f"its box begins at {box[0]:g}, {box[1]:g}, outside its {width} x {height} "
                    "pixels",
                )
            square = _square(_as_rgb(upright), resolution, width, side, box)
    except UnidentifiedImageError:
        return Fault(file, FaultKind.NOT_A_PICTURE, f"begins with {content[:12]!r}")
    except Exception as error:
        # Damaged files make decoders raise nearly anything, and one file must not end the scan.
        detail = " ".join(str(error).split()) or type(error).__name__
        kind = FaultKind.TRUNCATED if "truncated" in detail.lower() else FaultKind.UNREADABLE
        return Fault(file, kind, detail)
    return Decoded(
        pixels=np.asarray(square),
        sha256=hashlib.sha256(content).hexdigest(),
        width=width,
        height=height,
        side=round(side),
        mode=mode,
        format=form,
        outline=_outline(square),
        face=np.asarray(square.resize((_FACE, _FACE), Image.Resampling.BOX)),
    )


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in _SIXTEEN_BITS:
        # Pillow would clip at 255 instead of scaling.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _side(width: int, height: int, min_side: int, box: Box | None) -> float:
    if box is None:
        return min(width, height)
    return min(max(_AROUND * max(box[2:]), min_side), width, height)


def _square(
    picture: Image.Image, resolution: int, whole: int, side: float, box: Box | None
) -> Image.Image:
    """Cut out the square; `whole` is the width that `side` and `box` speak of."""
    width, height = picture.size
    if box is None:
        size = min(width, height)
        left, top = (width - size) // 2, (height - size) // 2
    else:
        scale = width / whole
        size = min(max(1, round(side * scale)), width, height)
        left = min(max(0, round((box[0] + box[2] / 2) * scale - size / 2)), width - size)
        top = min(max(0, round((box[1] + box[3] / 2) * scale - size / 2)), height - size)
    square = picture.crop((left, top, left + size, top + size))
    return square.resize((resolution, resolution), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _outline(square: Image.Image) -> int:
    grey = square.convert("L").resize((_FACE + 1, _FACE), Image.Resampling.BOX)
    rows = np.asarray(grey).astype(np.int16)
    bits = rows[:, 1:] > rows[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
