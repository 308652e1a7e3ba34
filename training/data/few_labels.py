"""Takes most labels away, as papers on learning from few labels do."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.errors import DataError
from training.data.pictures import PictureData
from training.data.samples import SampleData, fingerprint_of

Data = TypeVar("Data", PictureData, SampleData)


def few_labels(
    labels: NDArray[np.int64], count: int, classes: int, *, seed: int = 0
) -> NDArray[np.int64]:
    """Keep so many labels, the same number of each class, and set the others to -1.

    Args:
        labels: `(n,)` true labels.
        count: labels that stay; a multiple of `classes`.
        classes: number of classes.
        seed: other seeds keep the labels of other samples.

    Returns:
        `(n,)` int64, a new array.

    Raises:
        InvalidInput: `count` cannot be shared out evenly, or the seed is negative.
        DataError: a class has too few samples.
    """
    if seed < 0:
        raise InvalidInput("seed", seed, "is negative", "give 0 or more")
    if count < 1 or not classes or count % classes:
        raise InvalidInput(
            "labels",
            count,
            f"cannot be shared out evenly to {classes} classes",
            f"give a multiple of {classes}",
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
    kept = np.full(labels.shape, -1, np.int64)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        if members.size < count // classes:
            raise DataError(
                f"class {label} has {members.size} samples, {count // classes} labels asked; "
                "ask for fewer labels"
            )
        kept[rng.choice(members, count // classes, replace=False)] = label
    return kept


def with_few_labels(data: Data, count: int, *, seed: int = 0) -> Data:
    """Return the data set with only `count` labels known; see `few_labels`.

    Raises:
        DataError: the data set has no labels, or a class has too few samples.
        InvalidInput: `count` cannot be shared out evenly.
    """
    if data.labels is None:
        raise DataError(f"data {data.name}: has no labels; leave `labels` out")
    labels = few_labels(data.labels, count, len(data.label_names), seed=seed)
    return replace(
        data,
        labels=labels,
        fingerprint=fingerprint_of(["few labels", data.fingerprint], labels),
    )
