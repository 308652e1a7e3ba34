"""A contact sheet: pictures in a grid, each with its caption below."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from t2i.errors import InvalidInput

_MARGIN = 10
_FONT_SIZE = 13
_LINE_HEIGHT = 16
_MAX_LINES = 5
_INK = (34, 34, 40)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_PAPER = (250, 249, 246)


def contact_sheet(
    pictures: NDArray[np.uint8],
    captions: Sequence[str],
    path: str | Path,
    *,
    columns: int = 6,
    picture_size: int = 192,
) -> Path:
    """Write a sheet of pictures with their captions; the suffix of `path` names the format.

    Args:
        pictures: uint8 (n, height, width, 3), or with 1 channel for grey.
        captions: one for each picture; a long one is cut with an ellipsis.
        path: where to write; replaced as a whole.
        columns: pictures in a row.
        picture_size: edge at which a picture is shown, in pixels.

    Returns:
        `path`.

    Raises:
        InvalidInput: there are no pictures, or not as many captions, or the suffix is unknown.
    """
    if not len(pictures):
        raise InvalidInput("pictures", 0, "is empty", "give 1 picture or more")
    if len(pictures) != len(captions):
        raise InvalidInput(
            "captions",
            len(captions),
            f"do not match {len(pictures)} pictures",
            "give one caption a picture",
        )
    if columns < 1:
        raise InvalidInput("columns", columns, "is not positive", "use 1 or more")
    target = Path(path)
    if target.suffix.lower() not in _SUFFIXES:
        raise InvalidInput(
            "path", str(path), "names no picture format", f"end it in {', '.join(_SUFFIXES)}"
        )
    font = ImageFont.load_default(_FONT_SIZE)
    texts = [_wrapped(caption, picture_size, font) for caption in captions]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    text_height = max(len(lines) for lines in texts) * _LINE_HEIGHT + 6
    cell_width, cell_height = picture_size + _MARGIN, picture_size + text_height + _MARGIN
    sheet = Image.new("RGB", (columns * cell_width + _MARGIN, rows * cell_height + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        left = _MARGIN + index % columns * cell_width
        top = _MARGIN + index // columns * cell_height
        # Small pictures are shown by whole pixels where possible: nothing is smoothed over.
        whole = picture_size % picture.shape[0] == 0
        grey = picture.shape[2] == 1
        shown = Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture)).resize(
            (picture_size, picture_size),
            Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS,
        )
        sheet.paste(shown, (left, top))
        for number, line in enumerate(lines):
            height = top + picture_size + 4 + number * _LINE_HEIGHT
            pen.text((left, height), line, fill=_INK, font=font)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".partial-{os.getpid()}-{target.name}")
    try:
        sheet.save(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _wrapped(
    caption: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[str]:
    """Lines of a caption that fit into `width` pixels."""
    letters = max(8, int(width / (font.getlength("abcdefghij lmnop") / 16)))
    while letters > 8:
        lines = textwrap.wrap(caption, letters)
        if all(font.getlength(line) <= width for line in lines):
            break
        letters -= 1
    else:
        lines = textwrap.wrap(caption, letters)
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], lines[_MAX_LINES - 1][: letters - 1].rstrip() + "…"]
    return lines
