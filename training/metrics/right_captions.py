"""Which captions of a data set are right for which of its pictures, as far as anyone knows.

A caption is right for a picture if it came with it, if it reads like one that did, or if the data
know that it is true of it (`PictureData.truth`, which alone decides where there is one). Nothing is
guessed from embeddings here: a judge must not inherit the blind spots of a text encoder.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.pictures import PictureData
from training.metrics.errors import MetricsError

_ROWS_AT_ONCE = 128

Indices = NDArray[np.int64]


class RightCaptions:
    """Tells right captions from wrong ones.

    Args:
        data: pictures with one caption or more each.

    Raises:
        MetricsError: a picture has no caption.
    """

    def __init__(self, data: PictureData) -> None:
        counts = np.diff(data.caption_starts)
        if not counts.size or counts.min() == 0:
            raise MetricsError(
                "data",
                data.name,
                f"has no caption for {int((counts == 0).sum())} of its {len(data)} pictures",
                "caption all of them",
            )
        self._data = data
        self._counts = counts
        numbers = {text: number for number, text in enumerate(dict.fromkeys(data.flat_captions))}
        self.texts: Indices = np.fromiter(
            (numbers[text] for text in data.flat_captions), np.int64, len(data.flat_captions)
        )
        """`(n_captions,)`: the same number for captions that read the same, in flat order."""

    def pairs(self, pictures: Indices, captions: Indices) -> NDArray[np.bool_]:
        """Tell which captions are right for which pictures: `(n, m)` booleans.

        Args:
            pictures: `(n,)` picture indices.
            captions: `(m,)` flat caption indices.
        """
        parts = [
            self._some(pictures[start : start + _ROWS_AT_ONCE], captions)
            for start in range(0, len(pictures), _ROWS_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(captions)), np.bool_)

    def _some(self, pictures: Indices, captions: Indices) -> NDArray[np.bool_]:
        own = self._data.caption_owners[captions][None, :] == pictures[:, None]
        if self._data.truth is not None:
            rows, columns = np.repeat(pictures, captions.size), np.tile(captions, pictures.size)
            known = np.asarray(self._data.truth.holds(rows, columns), np.bool_)
            return np.asarray(own | known.reshape(own.shape), np.bool_)
        counts = self._counts[pictures]
        segments = np.cumsum(counts) - counts
        within = np.arange(int(counts.sum())) - np.repeat(segments, counts)
        theirs = self.texts[np.repeat(self._data.caption_starts[pictures], counts) + within]
        same = theirs[:, None] == self.texts[captions][None, :]
        return np.asarray(own | np.logical_or.reduceat(same, segments, axis=0), np.bool_)
