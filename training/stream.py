"""From batches in numbers to batches in tensors on a device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.batches import PictureBatches
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions
from training.errors import TrainingError
from training.recipe import Batch, RowNoise


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
    """

    def __init__(
        self,
        data: PictureData,
        embeddings: NDArray[np.float32],
        *,
        seed: int = 0,
        flip: bool = True,
        hard_wrong: float = 0.0,
    ) -> None:
        self.data = data
        self._embeddings = embeddings
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
        if size % parts:
            raise TrainingError(
                f"batch_size: {size} cannot be shared by {world_size} processes in "
                f"{micro_batches} micro-batches each; give a multiple of {parts}"
            )
        share = size // parts
        batches = []
        for micro in range(rank * micro_batches, (rank + 1) * micro_batches):
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
                    right=torch.from_numpy(self._embeddings[drawn.right]).to(device),
                    wrong=torch.from_numpy(self._embeddings[drawn.wrong]).to(device),
                    also_true=torch.from_numpy(true_pairs).to(device),
                    noise=RowNoise(
                        self._seed, number, size, slice(micro * share, (micro + 1) * share), device
                    ),
                    kimg=number * size / 1000.0,
                )
            )
        return batches
