"""A model that draws squares of one colour: everything of a batch job but the drawing is real."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from t2i.attributes import Attribute
from t2i.batch.folder import JobFolder
from t2i.batch.parquet import read_rows
from t2i.batch.shard import Ask
from t2i.batch.storage import file_of, storage_of
from t2i.client import ModelInfo
from t2i.codes import CodePart

BIRDS = ModelInfo(
    name="squares",
    version="1",
    checksum="ab" * 32,
    conditions=("text",),
    resolutions=(4, 8),
    encoder="",
    embedding_size=1,
    labels=(),
    parameters=1,
    is_default=True,
)
DIGITS = replace(BIRDS, conditions=("label",), labels=("zero", "one", "1999"))
PLUMAGE = replace(
    BIRDS,
    conditions=("attributes",),
    attributes=(Attribute("crown", ("red", "blue")), Attribute("size")),
)
CODES = replace(
    BIRDS,
    conditions=("code",),
    code=(CodePart("tilt", "continuous", 1), CodePart("digit", "categorical", 3)),
)
SEEDS = replace(BIRDS, conditions=())


@dataclass(frozen=True)
class Square:
    data: bytes

    def png(self) -> bytes:
        return self.data


@dataclass
class Squares:
    """Draws slowly if told to, and counts."""

    model: ModelInfo = BIRDS
    at_once: int = 5
    seconds: float = 0.0
    asked: list[Ask] = field(default_factory=list)
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, asks: Sequence[Ask]) -> list[Square]:
        with self.lock:
            self.asked += asks
        time.sleep(self.seconds)
        return [Square(square(ask)) for ask in asks]

    def close(self) -> None:
        self.closed = True


def square(ask: Ask) -> bytes:
    """The picture of an ask: its colour is a function of everything that was asked."""
    colour = hashlib.sha256(repr(ask).encode()).digest()[:3]
    packed = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(colour)).save(packed, "PNG")
    return packed.getvalue()


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def told(path: Path) -> list[dict[str, object]]:
    """The lines of a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def manifest(out: Path | str) -> list[dict[str, object]]:
    """The lines of a job's manifest, in whichever form it is."""
    path = JobFolder(storage_of(out)).manifest()
    assert path is not None
    if str(path).endswith(".jsonl"):
        with file_of(path).open() as file:
            return [json.loads(line) for line in file]
    rows = [dict(values) for _, values in read_rows(file_of(path))]
    return [row | {"condition": json.loads(row["condition"] or "null")} for row in rows]


def tree(out: Path) -> dict[str, bytes]:
    """Every file of a job but its lock, with its bytes."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
