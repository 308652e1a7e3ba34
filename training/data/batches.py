"""Which pictures, captions and flips make up each training step.

A batch is a pure function of the seed and the step. Nothing is stored, nothing runs in the
background, so a resumed run sees the very batches that an unbroken run would have seen, whatever
the number of processes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.errors import DataError
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions

Indices = NDArray[np.int64]

_SHUFFLE, _DETAIL = 0, 1


@dataclass(frozen=True)
class BatchIndices:
    """One step of one rank, in numbers.

    Attributes:
        pictures: `(n,)` picture indices.
        right: `(n,)` flat caption indices, one true caption of each picture; None when the
            data set has no captions.
        wrong: `(n,)` flat caption indices, one caption not true of each picture; None when the
            stream was made without `WrongCaptions`.
        flips: `(n,)` booleans: mirror the picture left to right.
        epoch: how often the data set had been shown in full before the first picture of the
            whole batch.
    """

    pictures: Indices
    right: Indices | None
    wrong: Indices | None
    flips: NDArray[np.bool_]
    epoch: int


class PictureBatches:
    """An endless, seeded stream of batches that can be entered at any step.

    Every picture is shown once an epoch; a batch may reach over the edge of two epochs, so
    batches always have the same size, even when it exceeds the data set.
    """

    def __init__(
        self,
        data: PictureData,
        wrong: WrongCaptions | None = None,
        *,
        seed: int = 0,
        flip: bool = True,
        hard_wrong: float = 0.0,
    ) -> None:
        """Set up the stream.

        Args:
            data: the pictures and captions.
            wrong: draws the wrong captions; None leaves them out.
            seed: 0 or more.
            flip: mirror every second picture or so, unless the data says that its pictures have
                a right way round (`PictureData.mirrors`). Switch off where captions name sides.
            hard_wrong: in [0, 1]; the share of wrong captions that are almost true.

        Raises:
            InvalidInput: the seed is negative, or the share is none.
            DataError: there is no picture, or some pictures have captions and others none.
        """
        if seed < 0:
            raise InvalidInput("seed", seed, "is negative", "give 0 or more")
        if not 0.0 <= hard_wrong <= 1.0:
            raise InvalidInput("hard_wrong", hard_wrong, "is no share", "give a number in [0, 1]")
        if not len(data):
            raise DataError(f"data {data.name}: holds no picture; nothing can be trained on it")
        counts = np.diff(data.caption_starts)
        if counts.max() > 0 and counts.min() == 0:
            raise DataError(
                f"data {data.name}: {int((counts == 0).sum())} of {len(data)} pictures have no "
                "caption; give one to each, or to none"
            )
        self.data = data
        self._wrong = wrong
        self._counts = counts
        self._seed = seed
        self._flip = flip and data.mirrors
        self._hard_wrong = hard_wrong
        self._orders: OrderedDict[int, Indices] = OrderedDict()

    def batch(self, step: int, batch_size: int, rank: int = 0, world_size: int = 1) -> BatchIndices:
        """Return what `rank` trains on at `step`.

        The whole batch is drawn, then cut, so the ranks of any `world_size` together see the
        batch that one process would see, in the same order.

        Args:
            step: 0 or more.
            batch_size: pictures of all ranks together; a multiple of `world_size`.
            rank: 0 up to `world_size - 1`.
            world_size: number of ranks.

        Raises:
            InvalidInput: a number is out of range.
        """
        if step < 0:
            raise InvalidInput("step", step, "is negative", "give 0 or more")
        if not 0 <= rank < world_size:
            raise InvalidInput("rank", rank, "is out of range", f"give 0 to {world_size - 1}")
        if batch_size < 1 or batch_size % world_size:
            raise InvalidInput(
                "batch_size",
                batch_size,
                f"cannot be shared out to {world_size} processes",
                f"give a multiple of {world_size}",
            )
        positions = step * batch_size + np.arange(batch_size, dtype=np.int64)
        epochs, offsets = np.divmod(positions, len(self.data))
        pictures = np.empty(batch_size, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            pictures[here] = self._order(int(epoch))[offsets[here]]
        rng = self._generator(_DETAIL, step)
        flips = rng.random(batch_size) < (0.5 if self._flip else 0.0)
        right = None
        if self._counts[0]:
            right = self.data.caption_starts[pictures] + rng.integers(0, self._counts[pictures])
        wrong = None if self._wrong is None else self._draw_wrong(self._wrong, pictures, rng)
        share = batch_size // world_size
        mine = slice(rank * share, (rank + 1) * share)
        return BatchIndices(
            pictures=pictures[mine],
            right=None if right is None else right[mine],
            wrong=None if wrong is None else wrong[mine],
            flips=flips[mine],
            epoch=int(epochs[0]),
        )

    def _draw_wrong(
        self, wrong: WrongCaptions, pictures: Indices, rng: np.random.Generator
    ) -> Indices:
        captions = wrong.draw(pictures, rng)
        if self._hard_wrong:
            hard = np.flatnonzero(rng.random(pictures.size) < self._hard_wrong)
            if hard.size:
                captions[hard] = wrong.draw_hard(pictures[hard], rng)
        return captions

    def pictures(self, batch: BatchIndices) -> torch.Tensor:
        """Return the pictures of a batch, flipped where it says so.

        Returns:
            `(batch, channels, height, width)` float32 in [-1, 1], on the CPU.
        """
        raw = np.ascontiguousarray(self.data.pictures[batch.pictures])
        raw[batch.flips] = raw[batch.flips, :, ::-1]
        return torch.from_numpy(raw).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)

    def _order(self, epoch: int) -> Indices:
        order = self._orders.get(epoch)
        if order is None:
            order = self._generator(_SHUFFLE, epoch).permutation(len(self.data))
            self._orders[epoch] = order
            while len(self._orders) > 2:
                self._orders.popitem(last=False)
        return order

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        sequence = np.random.SeedSequence(self._seed, spawn_key=(purpose, number))
        return np.random.Generator(np.random.PCG64(sequence))
