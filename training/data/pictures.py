"""What every data set becomes before training sees it: pictures, captions, labels, truth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput

# Pictures of each value, on average, from which an attribute or label can be learned.
SHOWN_BY = 8


class FaultKind(StrEnum):
    """Why a file of a folder cannot be trained on."""

    EMPTY = "empty file"
    NOT_A_PICTURE = "not a picture"
    TRUNCATED = "truncated picture"
    UNREADABLE = "unreadable"
    TOO_SMALL = "too small"
    NO_CAPTION = "no caption"
    NO_PICTURE = "caption without picture"
    OUTSIDE = "outside the folder"
    BAD_LINE = "bad line"
    CONFLICT = "conflicting lines"


@dataclass(frozen=True)
class Fault:
    """A file that training skips.

    Attributes:
        file: its name relative to the folder, with `/`.
        kind: what is wrong, one of a few words to count by.
        detail: what was seen, in one line.
    """

    file: str
    kind: FaultKind
    detail: str


class Truth(Protocol):
    """Knows which captions are true of which pictures, beyond the captions a picture came with."""

    def holds(self, pictures: NDArray[np.int64], captions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell for each pair whether the caption is true of the picture.

        Args:
            pictures: `(n,)` picture indices.
            captions: `(n,)` flat caption indices (see `PictureData.caption_starts`).

        Returns:
            `(n,)` booleans. A picture's own captions are true of it.
        """
        ...

    def agreement(
        self, pictures: NDArray[np.int64], captions: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Tell how much of each caption is true of each picture.

        Args:
            pictures: `(n,)` picture indices.
            captions: `(m,)` flat caption indices.

        Returns:
            `(n, m)` shares of what the caption says, in [0, 1]; 1 where it is true.
        """
        ...


@dataclass(frozen=True, eq=False, repr=False)
class PictureData:
    """A data set of one split at one resolution.

    Captions are numbered flat, picture by picture: the captions of picture `i` are
    `caption_starts[i]` up to but without `caption_starts[i + 1]`. Embeddings are stored in
    the same order.

    Attributes:
        name: what people call it; no path.
        fingerprint: SHA-256 (hex) of the content and of the settings it was decoded with.
        pictures: `(n, resolution, resolution, channels)` uint8, RGB or (one channel) grey, usually
            memory-mapped.
        captions: for each picture its captions, all of them true of it; may be empty when
            the data set has labels only.
        labels: `(n,)` int64 indices into `label_names`, -1 where a picture has none; None when
            the data set has no labels.
        label_names: the names of the labels, in the order of their numbers.
        truth: which captions are true of which pictures; None when nobody knows.
        files: the file name of each picture; empty when the pictures are drawn, not read.
        skipped: files that were left out, and why.
        mirrors: whether a picture mirrored left to right could be one of the data set; not so for
            digits and writing.
        attributes: `(n, n_attributes)` number of each picture's value of each attribute, -1 where
            nobody knows; None when the data set has no attributes.
        attribute_sizes: how many values each attribute can take.
    """

    name: str
    fingerprint: str
    pictures: NDArray[np.uint8]
    captions: tuple[tuple[str, ...], ...]
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    truth: Truth | None = None
    files: tuple[str, ...] = ()
    skipped: tuple[Fault, ...] = ()
    mirrors: bool = True
    attributes: NDArray[np.int8] | None = None
    attribute_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            InvalidInput: a length, shape or type does not fit the others.
        """
        shape = self.pictures.shape
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3):
            raise InvalidInput(
                "pictures",
                shape,
                "has the wrong shape",
                "give (n, resolution, resolution, 3), or 1 channel for grey",
            )
        if self.pictures.dtype != np.uint8:
            raise InvalidInput("pictures", str(self.pictures.dtype), "is not uint8", "give uint8")
        if len(self.captions) != shape[0]:
            raise InvalidInput(
                "captions",
                len(self.captions),
                f"holds entries for {len(self.captions)} of {shape[0]} pictures",
                "give one tuple of captions for each picture",
            )
        if self.labels is not None:
            if self.labels.shape != (shape[0],):
                raise InvalidInput(
                    "labels", self.labels.shape, "has the wrong shape", f"give ({shape[0]},)"
                )
            if self.labels.size and not (
                self.labels.min() >= -1 and self.labels.max() < len(self.label_names)
            ):
                raise InvalidInput(
                    "labels",
                    int(self.labels.max()),
                    "names no label",
                    f"give numbers from -1 to {len(self.label_names) - 1}",
                )

        shape = (shape[0], len(self.attribute_sizes))
        if self.attributes is not None and self.attributes.shape != shape:
            raise InvalidInput(
                "attributes", self.attributes.shape, "has the wrong shape", f"give {shape}"
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {len(self)} pictures of "
            f"{self.resolution} pixels, {len(self.flat_captions)} captions, "
            f"{len(self.label_names)} labels)"
        )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return int(self.pictures.shape[0])

    @property
    def resolution(self) -> int:
        """Side of the square pictures in pixels."""
        return int(self.pictures.shape[1])

    @property
    def channels(self) -> int:
        """Colours of a pixel: 3 for RGB, 1 for grey."""
        return int(self.pictures.shape[3])

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """Shape of one picture as networks see it: `(channels, resolution, resolution)`."""
        return self.channels, self.resolution, self.resolution

    @property
    def classes(self) -> int:
        """Number of classes; 0 when the data set has no labels."""
        return len(self.label_names)

    @property
    def known(self) -> tuple[NDArray[np.int64], tuple[int, ...]]:
        """What is known of the pictures beside their captions: attributes, and their label.

        Returns:
            `(n, k)` int64, -1 where it is not known, and how many values each of the k can take;
            k is 0 when nothing is known.
        """
        columns = [np.empty((len(self), 0), np.int64)]
        sizes = self.attribute_sizes
        if self.attributes is not None:
            columns.append(self.attributes.astype(np.int64))
        if self.labels is not None:
            columns.append(self.labels[:, None])
            sizes = (*sizes, self.classes)
        return np.concatenate(columns, axis=1), sizes

    @property
    def often_shown(self) -> tuple[bool, ...]:
        """Of which of the k that are `known` pictures enough show each value, on average.

        What fewer show is learned by heart instead of seen.
        """
        values, sizes = self.known
        counts = (values >= 0).sum(axis=0)
        return tuple(bool(n >= SHOWN_BY * size) for n, size in zip(counts, sizes, strict=True))

    @cached_property
    def caption_starts(self) -> NDArray[np.int64]:
        """`(n + 1,)` int64: flat index of the first caption of each picture, then the total."""
        counts = np.fromiter((len(texts) for texts in self.captions), np.int64, len(self.captions))
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    @cached_property
    def flat_captions(self) -> tuple[str, ...]:
        """All captions in flat order."""
        return tuple(text for texts in self.captions for text in texts)

    @cached_property
    def caption_owners(self) -> NDArray[np.int64]:
        """`(n_captions,)` int64: the picture that each flat caption came with."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.caption_starts))
