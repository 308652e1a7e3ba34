"""Small folders of pictures that the tests draw themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def draw(seed: int, width: int = 40, height: int = 32) -> Image.Image:
    """Draw a smooth picture that looks like no other seed's."""
    cells = np.random.default_rng(seed).integers(0, 256, size=(5, 5, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def save(path: Path, seed: int, width: int = 40, height: int = 32) -> Path:
    """Draw a picture into a file, whose name tells the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(seed, width, height).save(path)
    return path


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write metadata.jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def captioned(folder: Path, count: int = 30, **fields: object) -> Path:
    """Draw a clean folder with metadata.jsonl and one caption a picture."""
    rows = []
    for index in range(count):
        save(folder / f"{index:03}.png", index)
        rows.append({"file_name": f"{index:03}.png", "text": f"picture number {index}", **fields})
    write_rows(folder / "metadata.jsonl", rows)
    return folder
