"""Nearest neighbours in the training set: does the generator copy?

A generated picture that lies nearer to a training picture than held-out real ones do was learnt by
heart. Neighbours can be sought among pixels, which find exact copies alone, or among the features
of a network, which find the same thing elsewhere in the picture too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.metrics.errors import MetricsError
from training.metrics.manifold import nearest_distances
from training.metrics.score import Score


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest training pictures of each generated one.

    Attributes:
        rows: (n, k) int64 numbers of training pictures, nearest first.
        distances: (n, k) Euclidean distances of features.
        copied: a score: the share of generated pictures that lie nearer to a training picture than
            95 in 100 held-out ones do. About 0.05 is what a picture of one's own reaches.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    copied: Score


def find_neighbours(
    generated: Tensor,
    training: Tensor,
    held_out: Tensor,
    *,
    count: int = 5,
    network: str = "pixels",
    resize: int = 0,
) -> Neighbours:
    """Find the nearest training pictures of generated ones.

    Args:
        generated: (n, d) features.
        training: (m, d) features of the training set.
        held_out: (h, d) features of real pictures that were not trained on, the measure of how
            near a picture of the same source comes by chance.
        count: neighbours of each.
        network: what made the features.
        resize: side to which it brings pictures.

    Raises:
        MetricsError: a set is empty, or smaller than `count`.
    """
    if not len(generated) or not len(held_out):
        raise MetricsError("generated", len(generated), "or held_out is empty", "give 1 or more")
    training = training.double()
    distances, rows = nearest_distances(generated.double(), training, count)
    spare, _ = nearest_distances(held_out.double(), training, 1)
    limit = torch.quantile(spare[:, 0], 0.05)
    return Neighbours(
        rows=rows.numpy(),
        distances=distances.numpy(),
        copied=Score(
            name="copied",
            value=float((distances[:, 0] < limit).double().mean()),
            floor=float((spare[:, 0] < limit).double().mean()),
            count=len(generated),
            real=len(training),
            floor_count=len(held_out),
            network=network,
            resize=resize,
            noted={
                "median_distance": float(distances[:, 0].median()),
                "held_out_median": float(spare[:, 0].median()),
            },
        ),
    )


def pixels(pictures: NDArray[np.uint8]) -> Tensor:
    """Return pictures (n, h, w, c) uint8 as rows (n, h · w · c) float32 in [0, 1]."""
    rows = np.array(pictures).reshape(len(pictures), -1)
    return torch.from_numpy(rows).float() / 255.0
