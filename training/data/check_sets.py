"""Looks a data set over that has a name: what training would find in it, and where."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.errors import DataError
from training.data.load import load_data
from training.data.locate import MNIST, PICTURE_SETS, locate
from training.data.samples import SampleData, fingerprint_of
from training.data.sets import STACKED, STACKED_COUNTS, read_split


@dataclass(frozen=True)
class SplitReport:
    """One split of a named data set.

    Attributes:
        split: its name.
        found_in: the folder or archive, or "drawn" where no file is needed.
        layout: how it is written down there, or "drawn".
        count: number of samples.
        expected: how many the whole split has.
        sample_shape: of one sample; pictures as `(channels, side, side)`.
        values: least and greatest number in it.
        labels: samples of each label, for at most 25 labels.
        classes: number of labels.
        vocabulary: number of tokens; 0 when the samples are no text.
        copies: samples that equal an earlier one.
        fingerprint: SHA-256 (hex) of samples and labels.
    """

    split: str
    found_in: str
    layout: str
    count: int
    expected: int
    sample_shape: tuple[int, ...]
    values: tuple[float, float]
    labels: dict[str, int]
    classes: int
    vocabulary: int
    copies: int
    fingerprint: str


@dataclass(frozen=True)
class SetReport:
    """All that `t2i-train data check NAME` tells; also the shape of its JSON.

    Attributes:
        name: of the data set.
        splits: what is there.
        remarks: what a person should know though it stops nothing.
        verdict: whether the set is whole, in words.
        clean: whether every split is whole.
    """

    name: str
    splits: tuple[SplitReport, ...]
    remarks: tuple[str, ...]
    verdict: str
    clean: bool

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values."""
        return asdict(self)


def check_set(name: str, root: Path | None = None, *, download: bool = False) -> SetReport:
    """Read a named data set as it is and report what is in it; nothing is cached.

    Args:
        name: one of `NAMES` of `training.data.load` but the birds.
        root: where the files of a picture set are; see `locate`.
        download: fetch a picture set when it is not there.

    Raises:
        DataError: the set is not there, or is damaged.
    """
    remarks: list[str] = []
    if name in PICTURE_SETS or name == STACKED:
        splits = _picture_splits(MNIST.name if name == STACKED else name, root, download, remarks)
    else:
        splits = []
        for split in ("train", "test"):
            data = load_data(name, split=split)
            assert isinstance(data, SampleData)
            splits.append(
                _report(split, "drawn", "drawn", data.samples, data.labels, data.label_names, None)
                | {"vocabulary": len(data.vocabulary), "sample_shape": data.sample_shape}
            )
    if name == STACKED:
        remarks.append(
            f"of these digits {STACKED_COUNTS['train']} training and {STACKED_COUNTS['test']} test "
            "pictures are stacked"
        )
    reports = tuple(SplitReport(**one) for one in splits)  # type: ignore[arg-type]
    lacking = [one for one in reports if one.count != one.expected]
    verdict = (
        "; ".join(f"{one.split} holds {one.count} of {one.expected}" for one in lacking)
        or f"{name} is whole"
    )
    return SetReport(name, reports, tuple(remarks), verdict, not lacking)


def _picture_splits(
    name: str, root: Path | None, download: bool, remarks: list[str]
) -> list[dict[str, object]]:
    which = PICTURE_SETS[name]
    splits = []
    for split, expected in which.splits.items():
        try:
            # Few have the half million of SVHN's third split; train and test are the set.
            found = locate(which, split, root, download=download and split != "extra")
        except DataError:
            if split != "extra":
                raise
            continue
        pictures, labels = read_split(which, found)
        one = _report(
            split, str(found.files.path), found.layout, pictures, labels, which.labels, expected
        )
        splits.append(one)
        if found.layout == "class folders" and any(
            file.lower().endswith((".jpg", ".jpeg")) for file in found.names
        ):
            remarks.append(
                f"{split}: the pictures are JPEG files, so they were compressed anew: scores are "
                "not comparable with those on the original files"
            )
    return splits


def _report(
    split: str,
    found_in: str,
    layout: str,
    samples: NDArray[np.generic],
    labels: NDArray[np.int64] | None,
    label_names: tuple[str, ...],
    expected: int | None,
) -> dict[str, object]:
    shape = samples.shape[1:]
    distinct = len({row.tobytes() for row in samples})
    counts: dict[str, int] = {}
    if labels is not None and len(label_names) <= 25:
        found = Counter(labels.tolist())
        counts = {label: found[number] for number, label in enumerate(label_names)}
    return {
        "split": split,
        "found_in": found_in,
        "layout": layout,
        "count": len(samples),
        "expected": len(samples) if expected is None else expected,
        "sample_shape": (shape[-1], *shape[:-1]) if len(shape) == 3 else shape,
        "values": (float(samples.min()), float(samples.max())),
        "labels": counts,
        "classes": len(label_names),
        "vocabulary": 0,
        "copies": len(samples) - distinct,
        "fingerprint": fingerprint_of([], samples, labels),
    }
