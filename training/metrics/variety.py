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

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001)
"""The three finest of the paper's five scales: more do not fit into 64 pixels. Scaled to sum 1."""


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
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    if min(group.shape[1:3]) < 44:
        raise MetricsError(
            "resolution", int(min(group.shape[1:3])), "is too small for MS-SSIM", "use 44 or more"
        )
    x = group.permute(0, 3, 1, 2).float() / 255.0
    pairs = _pairs(len(group))
    total = sum(MS_SSIM_WEIGHTS)
    similarity = multiscale_structural_similarity_index_measure(
        x[pairs[:, 0]],
        x[pairs[:, 1]],
        data_range=1.0,
        betas=tuple(weight / total for weight in MS_SSIM_WEIGHTS),
        normalize="relu",
    )
    return 1.0 - float(similarity)


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
