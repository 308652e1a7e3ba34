"""Captions that are not true of a picture, for the matching-aware discriminator.

The pair *real picture / wrong text* teaches nothing, or the opposite, when the wrong text
happens to be true of the picture: "a bird with a white belly" holds of half a data set.
Rolling a batch by one ignores that. What is known decides, best knowledge first:

1. `PictureData.truth`, where the data set carries it, decides alone.
2. Labels: a caption is drawn from another class, and rule 3 applies as well, since classes
   share traits.
3. Texts: a caption that reads the same as a right caption is right. So is one whose embedding
   is nearer to any right caption than a threshold, in embeddings standardised per dimension:
   raw sentence embeddings of one domain all point the same way, and their differences drown.
   The threshold is a quantile of the similarities between pictures and random captions of other
   pictures, so `quantile=0.9` takes the nearest tenth of all captions for possibly true.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.errors import DataError
from training.data.pictures import PictureData

Indices = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_ROWS_AT_ONCE = 16_384
_SAMPLE = 4_096
# Hard captions are some of the best of a sample: the very best alone would soon be known.
_POOL, _BEST = 1_024, 16


class WrongCaptions:
    """Draws captions that are not true of given pictures, and tells which captions are.

    Holds no random state: pass a generator, or let `PictureBatches` make one a step.

    Attributes:
        threshold: cosine similarity in [-1, 1] of standardised embeddings above which a caption
            counts as true; None when `truth` decides.
    """

    def __init__(
        self,
        data: PictureData,
        embeddings: NDArray[np.floating],
        *,
        quantile: float = 0.9,
        redraws: int = 16,
        seed: int = 0,
    ) -> None:
        """Measure the embeddings once: mean, deviation, lengths, threshold.

        Args:
            data: the pictures and their captions; every picture needs one caption at least.
            embeddings: `(n_captions, dim)` in flat caption order; memory-mapped arrays stay so.
            quantile: in (0, 1]; the share of random captions that are taken for wrong. At 1
                the embeddings are not asked.
            redraws: how often a caption that is true is drawn anew before all captions are
                searched.
            seed: of the sample that sets the threshold.

        Raises:
            InvalidInput: embeddings do not fit the captions, or a number is out of range.
            DataError: a picture has no caption, or all captions read the same.
        """
        if embeddings.ndim != 2 or embeddings.shape[0] != len(data.flat_captions):
            raise InvalidInput(
                "embeddings",
                embeddings.shape,
                f"do not belong to the {len(data.flat_captions)} captions of {data.name}",
                "encode data.flat_captions, in that order",
            )
        if not 0.0 < quantile <= 1.0:
            raise InvalidInput("quantile", quantile, "is out of range", "give a number in (0, 1]")
        if redraws < 0:
            raise InvalidInput("redraws", redraws, "is negative", "give 0 or more")
        self._starts = data.caption_starts
        self._counts = np.diff(self._starts)
        if self._counts.size == 0 or self._counts.min() == 0:
            bare = int((self._counts == 0).sum())
            raise DataError(
                f"data {data.name}: {bare} of {len(data)} pictures have no caption; "
                "train on captions needs one for every picture"
            )
        texts = {text: number for number, text in enumerate(dict.fromkeys(data.flat_captions))}
        if len(texts) < 2:
            raise DataError(
                f"data {data.name}: all captions read {data.flat_captions[0]!r}; "
                "a wrong caption needs at least two that differ"
            )
        self._text_ids: Indices = np.fromiter(
            (texts[text] for text in data.flat_captions), np.int64, len(data.flat_captions)
        )
        self._data = data
        self._truth = data.truth
        self._redraws = redraws
        self._embeddings = embeddings
        self._labels: Indices | None = None
        self.threshold: float | None = None
        if self._truth is None:
            self._index_labels()
            self._measure()
            self.threshold = (
                self._find_threshold(quantile, np.random.default_rng(seed))
                if quantile < 1.0
                else np.inf
            )

    def draw(self, pictures: Indices, rng: np.random.Generator) -> Indices:
        """Draw for each picture one caption that is not true of it.

        Args:
            pictures: `(n,)` picture indices.
            rng: advanced by the call; the same state gives the same captions.

        Returns:
            `(n,)` flat caption indices.

        Raises:
            DataError: every caption of the data set is true of one of the pictures.
        """
        pictures = np.asarray(pictures, dtype=np.int64)
        captions = self._candidates(pictures, rng)
        pending = np.flatnonzero(self._are_true(pictures, captions))
        for _ in range(self._redraws):
            if not pending.size:
                return captions
            again = self._candidates(pictures[pending], rng)
            captions[pending] = again
            pending = pending[self._are_true(pictures[pending], again)]
        for position in pending:
            captions[position] = self._search(int(pictures[position]), rng)
        return captions

    def draw_hard(self, pictures: Indices, rng: np.random.Generator) -> Indices:
        """Draw for each picture one caption that is almost true of it, but not quite.

        Where the data set carries a truth, it says most that is true of the picture, and something
        that is not; otherwise its embedding is as near to a right caption as the threshold allows.

        Args:
            pictures: `(n,)` picture indices.
            rng: advanced by the call; the same state gives the same captions.

        Returns:
            `(n,)` flat caption indices.
        """
        pictures = np.asarray(pictures, dtype=np.int64)
        each, places = np.unique(pictures, return_inverse=True)
        pool = rng.integers(0, self._text_ids.size, size=_POOL)
        near = self._nearness(each, pool)
        best = np.argpartition(-near, _BEST, axis=1)[:, :_BEST]
        chosen = best[places, rng.integers(0, _BEST, size=pictures.size)]
        captions = pool[chosen]
        # A small data set may hold too few wrong captions among so many.
        none = np.flatnonzero(np.isneginf(near[places, chosen]))
        if none.size:
            captions[none] = self.draw(pictures[none], rng)
        return captions

    def _nearness(self, pictures: Indices, captions: Indices) -> NDArray[np.float32]:
        """`(n, m)`: how nearly a caption is true of a picture; -inf where it is, or may be."""
        if self._truth is not None:
            near = np.array(self._truth.agreement(pictures, captions), np.float32)
            near[near >= 1.0] = -np.inf
        else:
            right, segments = self._right_captions(pictures)
            similar = self._standardised(right) @ self._standardised(captions).T
            near = np.maximum.reduceat(similar, segments, axis=0)
            near[self.true_pairs(pictures, captions)] = -np.inf
        return near

    def true_pairs(self, pictures: Indices, captions: Indices) -> Booleans:
        """Tell which captions of a batch are true of which of its pictures.

        Pictures of one class count as true of each other's captions, where no truth is known:
        a contrastive loss must not push such a pair apart.

        Args:
            pictures: `(n,)` picture indices.
            captions: `(m,)` flat caption indices.

        Returns:
            `(n, m)` booleans.
        """
        pictures = np.asarray(pictures, dtype=np.int64)
        captions = np.asarray(captions, dtype=np.int64)
        rows = np.repeat(pictures, captions.size)
        columns = np.tile(captions, pictures.size)
        own: Booleans = self._data.caption_owners[captions][None, :] == pictures[:, None]
        if self._truth is not None:
            held = np.asarray(self._truth.holds(rows, columns), dtype=bool)
            return np.asarray(own | held.reshape(own.shape), dtype=bool)
        right, segments = self._right_captions(pictures)
        similar = self._standardised(right) @ self._standardised(captions).T
        same = self._text_ids[right][:, None] == self._text_ids[captions][None, :]
        assert self.threshold is not None
        near: Booleans = np.logical_or.reduceat(same | (similar > self.threshold), segments, axis=0)
        if self._labels is not None:
            theirs = self._labels[pictures][:, None]
            near |= (theirs >= 0) & (theirs == self._caption_labels[captions][None, :])
        return np.asarray(own | near, dtype=bool)

    def _candidates(self, pictures: Indices, rng: np.random.Generator) -> Indices:
        total = self._text_ids.size
        if self._labels is None:
            return rng.integers(0, total, size=pictures.size)
        # One integer among the captions of all other classes, then step over the own class:
        # exact, without a redraw.
        labels = self._labels[pictures]
        own_start = np.where(labels >= 0, self._label_starts[labels], total)
        own_count = np.where(labels >= 0, self._label_counts[labels], 0)
        ranks = rng.integers(0, total - own_count)
        ranks += np.where(ranks >= own_start, own_count, 0)
        return self._captions_by_label[ranks]

    def _are_true(self, pictures: Indices, captions: Indices) -> Booleans:
        if self._truth is not None:
            return np.asarray(self._truth.holds(pictures, captions), dtype=bool)
        right, segments = self._right_captions(pictures)
        drawn = np.repeat(captions, self._counts[pictures])
        same = self._text_ids[right] == self._text_ids[drawn]
        assert self.threshold is not None
        near = self._similarity(right, captions, self._counts[pictures]) > self.threshold
        return np.asarray(np.logical_or.reduceat(same | near, segments), dtype=bool)

    def _right_captions(self, pictures: Indices) -> tuple[Indices, Indices]:
        """Flat indices of all right captions, picture by picture, and where each one begins."""
        counts = self._counts[pictures]
        segments = np.cumsum(counts) - counts
        within = np.arange(int(counts.sum())) - np.repeat(segments, counts)
        return np.repeat(self._starts[pictures], counts) + within, segments

    def _search(self, picture: int, rng: np.random.Generator) -> int:
        """Look through all captions from a random place for one that is not true."""
        total = self._text_ids.size
        order = (np.arange(total) + int(rng.integers(total))) % total
        least: tuple[float, int] | None = None
        for begin in range(0, total, _ROWS_AT_ONCE):
            block = order[begin : begin + _ROWS_AT_ONCE]
            if self._truth is not None:
                false = ~np.asarray(
                    self._truth.holds(np.full(block.size, picture), block), dtype=bool
                )
                if false.any():
                    return int(block[int(false.argmax())])
                continue
            pairs = self.true_pairs(np.array([picture]), block)[0]
            if not pairs.all():
                return int(block[int((~pairs).argmax())])
            # All are near: the one least like any right caption is the best that there is,
            # as long as it is not the same text or the same class.
            right, _ = self._right_captions(np.array([picture]))
            nearest = (self._standardised(right) @ self._standardised(block).T).max(axis=0)
            known = np.isin(self._text_ids[block], self._text_ids[right])
            if self._labels is not None and self._labels[picture] >= 0:
                known |= self._caption_labels[block] == self._labels[picture]
            nearest = np.where(known, np.inf, nearest)
            best = int(nearest.argmin())
            if np.isfinite(nearest[best]) and (least is None or nearest[best] < least[0]):
                least = (float(nearest[best]), int(block[best]))
        if least is None:
            raise DataError(
                f"data {self._data.name}: every caption is true of picture {picture}; "
                "add pictures whose captions differ"
            )
        return least[1]

    def _index_labels(self) -> None:
        labels = self._data.labels
        if labels is None or np.unique(labels[labels >= 0]).size < 2:
            return
        caption_labels = labels[self._data.caption_owners]
        self._captions_by_label = np.argsort(caption_labels, kind="stable").astype(np.int64)
        ordered = caption_labels[self._captions_by_label]
        names = np.arange(int(labels.max()) + 1)
        self._label_starts = np.searchsorted(ordered, names, side="left")
        self._label_counts = np.searchsorted(ordered, names, side="right") - self._label_starts
        self._caption_labels = caption_labels
        self._labels = labels

    def _measure(self) -> None:
        count, dim = self._embeddings.shape
        total, squares = np.zeros(dim), np.zeros(dim)
        for begin in range(0, count, _ROWS_AT_ONCE):
            rows = np.asarray(self._embeddings[begin : begin + _ROWS_AT_ONCE], dtype=np.float64)
            total += rows.sum(axis=0)
            squares += np.square(rows).sum(axis=0)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
        # A dimension that never moves says nothing: scale 0 drops it.
        moves = deviation > 1e-6
        self._mean = mean.astype(np.float32)
        self._scale = np.where(moves, 1.0 / np.where(moves, deviation, 1.0), 0.0).astype(np.float32)

    def _standardised(self, captions: Indices) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = np.array(self._embeddings[captions], dtype=np.float32)
        rows -= self._mean
        rows *= self._scale
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
        rows /= np.where(lengths > 0, lengths, np.float32(1.0))
        return rows

    def _similarity(
        self, right: Indices, captions: Indices, counts: Indices
    ) -> NDArray[np.float32]:
        theirs = np.repeat(self._standardised(captions), counts, axis=0)
        return np.asarray(np.einsum("nd,nd->n", self._standardised(right), theirs))

    def _find_threshold(self, quantile: float, rng: np.random.Generator) -> float:
        pictures = rng.integers(0, len(self._data), size=_SAMPLE)
        captions = rng.integers(0, self._text_ids.size, size=_SAMPLE)
        right, segments = self._right_captions(pictures)
        counts = self._counts[pictures]
        same = self._text_ids[right] == self._text_ids[np.repeat(captions, counts)]
        others = ~np.logical_or.reduceat(same, segments)
        nearest = np.maximum.reduceat(self._similarity(right, captions, counts), segments)
        return float(np.quantile(nearest[others], quantile)) if others.any() else 1.0
