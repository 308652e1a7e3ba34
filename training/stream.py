"""From batches in numbers to batches in tensors on a device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.batches import PictureBatches
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions
from training.errors import TrainingError
from training.recipe import Batch, CaptionRows, LabelledRows, RowNoise
from training.tokens import PackedCaptions

Indices = NDArray[np.int64]


class Named(Protocol):
    """Data that a run can be resumed on."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its content."""


class Samples(Named, Protocol):
    """Data that is no picture: points, token sequences."""

    @property
    def samples(self) -> NDArray[np.generic]:
        """``(n, ...)`` numbers."""

    @property
    def labels(self) -> Indices | None:
        """``(n,)`` int64, -1 where a sample has no label; None when none has."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels by number."""


class Stream(Protocol):
    """Endless batches, each a pure function of the seed and of its number."""

    @property
    def data(self) -> Named:
        """What the batches are made of."""

    def batches(
        self,
        number: int,
        size: int,
        micro_batches: int,
        device: torch.device,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> list[Batch]:
        """Return the micro-batches of one process; see `CaptionStream.batches`."""


def shares(
    size: int, micro_batches: int, rank: int, world_size: int
) -> Iterator[tuple[int, slice]]:
    """Yield number and rows of each micro-batch of one process.

    Raises:
        TrainingError: The batch cannot be cut into so many equal parts.
    """
    parts = micro_batches * world_size
    if size % parts:
        raise TrainingError(
            f"batch_size: {size} cannot be shared by {world_size} processes in "
            f"{micro_batches} micro-batches each; give a multiple of {parts}"
        )
    share = size // parts
    for micro in range(rank * micro_batches, (rank + 1) * micro_batches):
        yield micro, slice(micro * share, (micro + 1) * share)


class CaptionStream:
    """Endless batches of pictures with the embeddings of a right and a wrong caption.

    Everything is a pure function of the seed and of the batch's number: entering at any number
    gives what an unbroken run would have seen, on any number of processes.

    Args:
        data: Pictures and captions.
        embeddings: ``(n_captions, d)`` in the data's flat order.
        seed: Seed of order, captions, flips and noise.
        flip: Mirror pictures at random.
        hard_wrong: Share of wrong captions that are almost true of their picture.
        rows: What batches hold of captions, by their numbers; None for the embeddings.
    """

    def __init__(
        self,
        data: PictureData,
        embeddings: NDArray[np.float32],
        *,
        seed: int = 0,
        flip: bool = True,
        hard_wrong: float = 0.0,
        rows: PackedCaptions | None = None,
    ) -> None:
        self.data = data
        self._rows = embeddings if rows is None else rows
        self._seed = seed
        self._wrong = WrongCaptions(data, embeddings, seed=seed)
        self._batches = PictureBatches(
            data, self._wrong, seed=seed, flip=flip, hard_wrong=hard_wrong
        )

    def batches(
        self,
        number: int,
        size: int,
        micro_batches: int,
        device: torch.device,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> list[Batch]:
        """Return the micro-batches of one process.

        Args:
            number: Number of the batch, 0 or more.
            size: Pictures in the batch over all processes and micro-batches.
            micro_batches: How many parts a process takes its share in.
            device: Where the tensors are wanted.
            rank: Number of this process.
            world_size: Number of processes.
        """
        parts = micro_batches * world_size
        batches = []
        for micro, rows in shares(size, micro_batches, rank, world_size):
            drawn = self._batches.batch(number, size, micro, parts)
            if drawn.right is None or drawn.wrong is None:
                raise TrainingError(
                    f"data {self.data.name}: has no captions; this recipe learns from captions"
                )
            true_pairs = self._wrong.true_pairs(drawn.pictures, drawn.right)
            batches.append(
                Batch(
                    pictures=self._batches.pictures(drawn)
                    .to(device)
                    .contiguous(memory_format=torch.channels_last),
                    noise=RowNoise(self._seed, number, size, rows, device),
                    kimg=number * size / 1000.0,
                    step=number,
                    labels=_labels(self.data.labels, drawn.pictures, device),
                    captions=CaptionRows(
                        right=torch.from_numpy(self._rows[drawn.right]).to(device),
                        wrong=torch.from_numpy(self._rows[drawn.wrong]).to(device),
                        also_true=torch.from_numpy(true_pairs).to(device),
                    ),
                )
            )
        return batches


class SampleStream:
    """Endless batches of pictures or other samples, with their labels where they have some.

    Like `CaptionStream` a pure function of the seed and of the batch's number. Where only a part of
    the data has labels, each batch also brings as many labelled rows, in an order of their own.

    Args:
        data: Pictures, or other samples.
        seed: Seed of order, flips and noise.
        flip: Mirror pictures at random.
    """

    def __init__(self, data: PictureData | Samples, *, seed: int = 0, flip: bool = False) -> None:
        self.data = data
        self._seed = seed
        self._flip = flip
        self._rows = _rows_of(data)
        labels = data.labels
        known = None if labels is None else np.flatnonzero(labels >= 0)
        self._labelled = known if known is not None and len(known) else None
        if not len(self._rows):
            raise TrainingError(f"data {data.name}: is empty; nothing can be trained on it")
        self._whole = Order(len(self._rows), seed, 0)
        self._some = None if self._labelled is None else Order(len(self._labelled), seed, 1)

    def batches(
        self,
        number: int,
        size: int,
        micro_batches: int,
        device: torch.device,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> list[Batch]:
        """Return the micro-batches of one process; see `CaptionStream.batches`."""
        return [
            self._batch(number, size, rows, device)
            for _, rows in shares(size, micro_batches, rank, world_size)
        ]

    def _batch(self, number: int, size: int, rows: slice, device: torch.device) -> Batch:
        noise = RowNoise(self._seed, number, size, rows, device)
        chosen = self._whole.batch(number, size)[rows]
        labels = _labels(self.data.labels, chosen, device)
        pictures = self._read(chosen, noise, "flip", device)
        labelled: LabelledRows | None = None
        if labels is not None and self._labelled is not None and self._some is not None:
            labelled = LabelledRows(pictures, labels)
            if len(self._labelled) < len(self._rows):
                places = self._labelled[self._some.batch(number, size)[rows]]
                theirs = _labels(self.data.labels, places, device)
                assert theirs is not None
                labelled = LabelledRows(self._read(places, noise, "flip-too", device), theirs)
        kimg = number * size / 1000.0
        sources = getattr(self.data, "sources", None)
        if sources is not None:
            sources = torch.from_numpy(sources[chosen]).to(device)
        return Batch(pictures, noise, kimg, number, labels, labelled=labelled, sources=sources)

    def _read(self, chosen: Indices, noise: RowNoise, name: str, device: torch.device) -> Tensor:
        raw = np.ascontiguousarray(self._rows[chosen])
        if not isinstance(self.data, PictureData):
            whole = np.issubdtype(raw.dtype, np.integer)
            return torch.from_numpy(raw.astype(np.int64 if whole else np.float32)).to(device)
        if self._flip:
            flips = noise.uniform(name, 1).squeeze(1).cpu().numpy() < 0.5
            raw[flips] = raw[flips, :, ::-1]
        x = torch.from_numpy(raw).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        return x.to(device).contiguous(memory_format=torch.channels_last)


class Order:
    """Shuffles rows anew every epoch; batches may reach over the edge of two epochs.

    Args:
        rows: How many there are.
        seed: 0 or more.
        purpose: Tells orders of the same seed apart.
    """

    def __init__(self, rows: int, seed: int, purpose: int) -> None:
        self._count, self._seed, self._purpose = rows, seed, purpose
        self._epochs: OrderedDict[int, Indices] = OrderedDict()

    def batch(self, number: int, size: int) -> Indices:
        """Return the ``(size,)`` rows of a batch."""
        epochs, offsets = np.divmod(number * size + np.arange(size, dtype=np.int64), self._count)
        chosen = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = self._epoch(int(epoch))[offsets[here]]
        return chosen

    def _epoch(self, epoch: int) -> Indices:
        if epoch not in self._epochs:
            key = np.random.SeedSequence(self._seed, spawn_key=(self._purpose, epoch))
            self._epochs[epoch] = np.random.default_rng(key).permutation(self._count)
            while len(self._epochs) > 2:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]


def _rows_of(data: PictureData | Samples) -> NDArray[np.generic]:
    return data.pictures if isinstance(data, PictureData) else data.samples


def _labels(labels: Indices | None, chosen: Indices, device: torch.device) -> Tensor | None:
    return None if labels is None else torch.from_numpy(labels[chosen]).to(device)
