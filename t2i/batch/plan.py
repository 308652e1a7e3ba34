"""What a batch job is to do, and the shards that it is done in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from t2i.batch.formats import INPUT_FORMATS, SHARD_FORMATS, InputFormat, ShardFormat
from t2i.batch.records import Record
from t2i.errors import InvalidInput, shown
from t2i.seeds import LARGEST_SEED
from t2i.takes import Takes, check_best_of

__all__ = [
    "MAX_COUNT",
    "Model",
    "Plan",
    "Shard",
    "fraction",
    "shards",
    "whole",
]

MAX_COUNT = 1024
MAX_ROWS_PER_SHARD = 100_000


class Model(Takes, Protocol):
    """The model that draws: `PipelineInfo` in this process, `ModelInfo` of a service."""

    @property
    def version(self) -> str:
        """The author's version."""

    @property
    def checksum(self) -> str:
        """SHA-256 over the bundle's manifest, hexadecimal."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Side of each stage's picture in pixels, ascending."""

    @property
    def has_scorer(self) -> bool:
        """Whether it can tell the best of several candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the rows of an input become pictures, the same for every shard.

    Args:
        model: the model that draws.
        input_format: how the rows are written.
        format: what a shard becomes: a tar file, a folder, or a Parquet file.
        rows_per_shard: rows in a shard, 1 to 100,000.
        count: pictures of a row that does not tell, 1 to 1,024.
        seed: what rows without a seed have theirs from, 0 to 2**63 - 1.
        truncation: of a row that does not tell; as in `Pipeline.generate`.
        conditioning_truncation: the same.
        best_of: candidates for each picture of a row that does not tell, 1 to 16.

    Raises:
        InvalidInput: if a value is not one of these, or the model cannot choose.
    """

    model: Model
    input_format: InputFormat
    format: ShardFormat = "webdataset"
    rows_per_shard: int = 1000
    count: int = 1
    seed: int = 0
    truncation: float = 1.0
    conditioning_truncation: float = 1.0
    best_of: int = 1

    def __post_init__(self) -> None:
        for name, value, known in (
            ("input_format", self.input_format, INPUT_FORMATS),
            ("format", self.format, SHARD_FORMATS),
        ):
            if value not in known:
                raise InvalidInput(
                    name, value, f"{shown(value)} is not known", f"give one of {', '.join(known)}"
                )
        whole("rows_per_shard", self.rows_per_shard, 1, MAX_ROWS_PER_SHARD)
        whole("count", self.count, 1, MAX_COUNT)
        whole("seed", self.seed, 0, LARGEST_SEED)
        fraction("truncation", self.truncation)
        fraction("conditioning_truncation", self.conditioning_truncation)
        check_best_of(self.model, self.best_of)

    @property
    def options(self) -> dict[str, str | int | float]:
        """All that decides about the pictures and their files but the input and the model."""
        return {
            "format": self.format,
            "rows_per_shard": self.rows_per_shard,
            "count": self.count,
            "seed": self.seed,
            "truncation": float(self.truncation),
            "conditioning_truncation": float(self.conditioning_truncation),
            "best_of": self.best_of,
        }


@dataclass(frozen=True, slots=True)
class Shard:
    """Some rows of an input, as they stand there.

    Attributes:
        number: from 0.
        records: in the order of the input; every shard but the last has `Plan.rows_per_shard`.
    """

    number: int
    records: tuple[Record, ...]

    @property
    def name(self) -> str:
        """What its files are named after."""
        return f"{self.number:06d}"


def shards(records: Iterable[Record], rows: int) -> Iterator[Shard]:
    """Return records in shards of so many rows, one shard at a time in memory."""
    rest = iter(records)
    number = 0
    while some := tuple(islice(rest, rows)):
        yield Shard(number, some)
        number += 1


def whole(field: str, value: object, low: int, high: int) -> int:
    """Return a whole number; `"3"` and 3.0, as tables hold them, are 3.

    Raises:
        InvalidInput: if it is none, or out of range.
    """
    number = value
    if isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            number = _number(value)
    # Beyond 2**53 a float may have lost digits.
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidInput(
            field, value, f"{shown(value)} is not a whole number", f"give {low} to {high}"
        )
    if not low <= number <= high:
        raise InvalidInput(field, value, f"{shown(value)} is out of range", f"give {low} to {high}")
    return number


def fraction(field: str, value: object) -> float:
    """Return a number from 0 to 1.

    Raises:
        InvalidInput: if it is none.
    """
    number = _number(value) if isinstance(value, str) else value
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= 1:
        raise InvalidInput(field, value, f"{shown(value)} is out of range", "give 0 to 1")
    return float(number)


def _number(words: str) -> object:
    try:
        return float(words)
    except ValueError:
        return words
