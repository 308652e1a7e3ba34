"""How different the pictures of one caption are from each other.

A generator that ignores its noise draws one picture for each caption, whatever its fidelity. Two
distances between pictures are offered:

- `feature_distance` (the default): LPIPS-like (Zhang et al., 2018, arXiv:1801.03924, eq. 1) with
  all weights 1: feature maps of several depths, normalised over channels, squared difference
  summed over channels, averaged over places and depths. It sees shape, pose and texture where a
  person sees them, and hardly rises with pixel noise.
- `ms_ssim_distance`: 1 - MS-SSIM (Wang et al., 2003), which compares pixels where they stand and
  therefore saturates as soon as two birds do not overlap. No network is involved in it.

Neither is an absolute: both are printed beside the same figure for real pictures of the same
captions, and their ratio is what counts.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.metrics.errors import MetricsError
from training.metrics.features import FeatureNetwork, Progress
from training.metrics.score import Score

PAPER_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales of Wang et al., finest first."""

MS_SSIM_WEIGHTS = PAPER_WEIGHTS[:3]
"""More do not fit into 64 pixels. Scaled to sum 1."""

_WINDOW = 11
"""Side of the Gaussian window, which must fit into the coarsest scale."""


def feature_distance(network: FeatureNetwork, group: Tensor) -> float:
    """Return the mean distance over all pairs of one group of pictures (k, h, w, 3) uint8."""
    pairs = _pairs(len(group))
    total = 0.0
    maps = network.maps(group)
    for level in maps:
        units = functional.normalize(level.float(), dim=1, eps=1e-6)
        flat = units.flatten(2)
        # |a - b|² of unit vectors is 2 - 2 a·b at every place.
        products = torch.einsum("icp,jcp->ij", flat, flat) / flat.shape[2]
        squares = torch.einsum("icp,icp->i", flat, flat) / flat.shape[2]
        distances = squares[:, None] + squares[None] - 2 * products
        total += float(distances[pairs[:, 0], pairs[:, 1]].mean())
    return max(0.0, total / len(maps))


def ms_ssim_distance(group: Tensor) -> float:
    """Return 1 - MS-SSIM, averaged over all pairs of one group of pictures (k, h, w, 3) uint8.

    Raises:
        MetricsError: the pictures are smaller than 44 pixels, which three scales need.
    """
    if min(group.shape[1:3]) < 44:
        raise MetricsError(
            "resolution", int(min(group.shape[1:3])), "is too small for MS-SSIM", "use 44 or more"
        )
    pairs = _pairs(len(group))
    return 1.0 - ms_ssim(group[pairs[:, 0]], group[pairs[:, 1]], scales=3)


def scales_for(side: int) -> int:
    """Return how many of the five scales fit into pictures of a side; each halves it.

    Raises:
        MetricsError: not even one does.
    """
    # torchmetrics asks for 99 pixels for four scales, where the window alone would need 88.
    needed = (_WINDOW, 2 * _WINDOW, 4 * _WINDOW, 99, 16 * _WINDOW)
    count = sum(side >= least for least in needed)
    if not count:
        raise MetricsError(
            "resolution", side, "is too small for MS-SSIM", f"use {_WINDOW} pixels or more"
        )
    return count


def ms_ssim(first: Tensor, second: Tensor, *, scales: int) -> float:
    """Return the mean MS-SSIM of pairs of pictures, (n, h, w, c) uint8 each.

    Wang et al., 2003, eq. 7, with the finest `scales` weights scaled to sum 1. The coarsest scale
    counts the edges too, mirrored, as torchmetrics does. Figures of different numbers of scales are
    not comparable.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    weights = PAPER_WEIGHTS[:scales]
    similarity = multiscale_structural_similarity_index_measure(
        first.permute(0, 3, 1, 2).float() / 255.0,
        second.permute(0, 3, 1, 2).float() / 255.0,
        data_range=1.0,
        betas=tuple(weight / sum(weights) for weight in weights),
        normalize="relu",
    )
    return float(similarity)


def class_ms_ssim(
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int64],
    real: NDArray[np.uint8],
    real_labels: NDArray[np.int64],
    *,
    label_names: tuple[str, ...],
    pairs: int = 100,
    seed: int = 0,
) -> tuple[Score, ...]:
    """Return the mean MS-SSIM of pairs within each class, beside the data's own.

    Odena et al., 2017, arXiv:1610.09585, section 4.2: a class whose figure is well above the data's
    has collapsed. Pairs are drawn by lot; in both sets the same number.

    Args:
        pictures: (n, r, r, c) uint8 generated.
        labels: (n,) int64, the class each was asked to show.
        real: (m, r, r, c) uint8.
        real_labels: (m,) int64; -1 is left out.
        label_names: the classes.
        pairs: in each class; the paper takes 100.
        seed: of the lot.

    Returns:
        One score a class, the data's own as its floor; then their mean.

    Raises:
        MetricsError: sizes differ, pictures are too small, or a class has fewer than two.
    """
    if pictures.shape[1:] != real.shape[1:]:
        raise MetricsError(
            "pictures", pictures.shape, f"differ from the data's {real.shape}", "draw at its size"
        )
    if pairs < 1:
        raise MetricsError("pairs", pairs, "is not positive", "use 100")
    side = min(pictures.shape[1:3])
    scales = scales_for(side)
    rng = np.random.default_rng(seed)
    scores = []
    for label, name in enumerate(label_names):
        own = _class_pairs(pictures, np.flatnonzero(labels == label), name, pairs, rng)
        data = _class_pairs(real, np.flatnonzero(real_labels == label), name, pairs, rng)
        scores.append(
            Score(
                name=f"MS-SSIM of {name}",
                value=ms_ssim(*own, scales=scales),
                floor=ms_ssim(*data, scales=scales),
                count=int((labels == label).sum()),
                floor_count=int((real_labels == label).sum()),
                resize=side,
                better="neither",
                detail={"pairs": pairs, "scales": scales},
            )
        )
    mean = Score(
        name="MS-SSIM",
        value=float(np.mean([score.value for score in scores])),
        floor=float(np.mean([score.floor for score in scores if score.floor is not None])),
        count=sum(score.count for score in scores),
        floor_count=sum(score.floor_count for score in scores),
        resize=side,
        better="neither",
        detail={"pairs": pairs, "scales": scales, "classes": len(scores)},
    )
    return (*scores, mean)


def _class_pairs(
    pictures: NDArray[np.uint8],
    rows: NDArray[np.int64],
    name: str,
    pairs: int,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    if len(rows) < 2:
        raise MetricsError("labels", name, f"has {len(rows)} pictures", "give 2 or more of each")
    first = rng.integers(len(rows), size=pairs)
    # Another picture than the first: a step of 1 to n - 1 further round.
    second = (first + rng.integers(1, len(rows), size=pairs)) % len(rows)
    return (
        torch.from_numpy(np.array(pictures[rows[first]])),
        torch.from_numpy(np.array(pictures[rows[second]])),
    )


def mean_variety(
    groups: NDArray[np.uint8],
    network: FeatureNetwork,
    *,
    progress: Progress | None = None,
) -> tuple[float, float]:
    """Return (feature distance, MS-SSIM distance) averaged over groups (n, k, h, w, 3) uint8.

    Args:
        groups: k pictures of each of n captions.
        network: where the feature distance is measured.
        progress: called with the number of pictures done.

    Raises:
        MetricsError: there is no group, or a group holds a single picture.
    """
    if not len(groups) or groups.shape[1] < 2:
        raise MetricsError(
            "groups", groups.shape[:2], "holds no pair of pictures", "draw 2 or more for a caption"
        )
    features, pixels = 0.0, 0.0
    for array in groups:
        group = torch.from_numpy(np.array(array))
        features += feature_distance(network, group)
        pixels += ms_ssim_distance(group)
        if progress is not None:
            progress(len(group))
    return features / len(groups), pixels / len(groups)


def _pairs(count: int) -> Tensor:
    return torch.tensor(list(combinations(range(count), 2)))
