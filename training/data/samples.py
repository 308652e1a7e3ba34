"""Data that is not pictures: points of the plane, windows of text, sentences and translations."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput


@dataclass(frozen=True, eq=False, repr=False)
class SampleData:
    """A data set of one split whose samples are arrays of any one shape.

    Attributes:
        name: what people call it; no path.
        fingerprint: SHA-256 (hex) of the samples, the labels and what else makes the set.
        samples: `(n, ...)`; float32 for points, int64 for tokens.
        labels: `(n,)` int64 indices into `label_names`, -1 where a sample has none; None when the
            data set has no labels.
        label_names: the names of the labels, in the order of their numbers.
        vocabulary: what each token of `samples` stands for; empty when they are no tokens.
    """

    name: str
    fingerprint: str
    samples: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            InvalidInput: a length, shape, type or number does not fit the others.
        """
        if self.samples.ndim < 2:
            raise InvalidInput("samples", self.samples.shape, "is not (n, ...)", "add a dimension")
        if self.vocabulary:
            if self.samples.dtype != np.int64:
                raise InvalidInput("samples", str(self.samples.dtype), "are no tokens", "use int64")
            check_numbers("samples", self.samples, 0, len(self.vocabulary))
        if self.labels is not None:
            if self.labels.shape != (len(self),):
                raise InvalidInput(
                    "labels", self.labels.shape, "has the wrong shape", f"give ({len(self)},)"
                )
            check_numbers("labels", self.labels, -1, len(self.label_names))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self)} samples of {self.sample_shape})"

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self.samples.shape[0])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: `(2,)` for points of the plane, `(length,)` for tokens."""
        return tuple(int(size) for size in self.samples.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes; 0 when the data set has no labels."""
        return len(self.label_names)


def check_numbers(field: str, values: NDArray[np.int64], low: int, high: int) -> None:
    """Refuse numbers outside of `[low, high)`.

    Raises:
        InvalidInput: a number lies outside; names the worst.
    """
    if values.size and not (values.min() >= low and values.max() < high):
        worst = int(values.max() if values.max() >= high else values.min())
        raise InvalidInput(field, worst, "names nothing", f"give numbers from {low} to {high - 1}")


def fingerprint_of(about: object, *arrays: NDArray[Any] | None) -> str:
    """Return the SHA-256 (hex) of plain values and of arrays with their types and shapes."""
    key = hashlib.sha256(json.dumps(about).encode())
    for array in arrays:
        if array is None:
            key.update(b"none")
            continue
        key.update(f"{array.dtype.str}{array.shape}".encode())
        # Part by part: a memory-mapped set need not fit into memory.
        for begin in range(0, len(array), 4096):
            key.update(np.ascontiguousarray(array[begin : begin + 4096]).data)
    return key.hexdigest()
