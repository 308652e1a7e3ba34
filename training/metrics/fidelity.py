"""How near generated pictures come to real ones, as a distance between two sets of features.

KID: Bińkowski et al., 2018, arXiv:1801.01401, section 4: the unbiased squared maximum mean
discrepancy with the kernel k(x, y) = (x·y / d + 1)^3, averaged over random subsets.
FID: Heusel et al., 2017, arXiv:1706.08500, eq. 6. It is biased upwards for few pictures, so KID
is the figure that this project reports.

The arithmetic is torchmetrics'; this file feeds it features that were computed once, since the
real features serve every seed and the floor.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.metrics.errors import MetricsError


class _Precomputed(nn.Module):
    """Hands features through, where torchmetrics expects the network that makes them."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance between two sets of pictures; `spread` is over subsets, 0 without any."""

    value: float
    spread: float
    real: int
    other: int
    subsets: int
    subset_size: int


def kid(
    real: Tensor, other: Tensor, *, subsets: int = 100, subset_size: int = 500, seed: int = 0
) -> Distance:
    """Return the kernel distance of two feature sets (n, d) and (m, d) float32.

    Args:
        real: features of the reference pictures.
        other: features of the pictures to be judged.
        subsets: how many random subsets are averaged.
        subset_size: pictures in each, drawn without replacement; both sets must have as many.
        seed: of the subsets; the global random state is left as it was.

    Raises:
        MetricsError: a set is smaller than a subset.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    smallest = min(len(real), len(other))
    if subset_size < 2 or subset_size > smallest:
        raise MetricsError(
            "subset_size",
            subset_size,
            f"is not from 2 to the {smallest} pictures of the smaller set",
            "measure more pictures or use smaller subsets",
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features")
        metric = KernelInceptionDistance(
            feature=_Precomputed(real.shape[1]), subsets=subsets, subset_size=subset_size
        )
    metric.update(real, real=True)
    metric.update(other, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, spread = metric.compute()
    return Distance(float(mean), float(spread), len(real), len(other), subsets, subset_size)


def fid(real: Tensor, other: Tensor) -> Distance:
    """Return the Fréchet distance of two feature sets (n, d) and (m, d).

    Raises:
        MetricsError: a set has fewer than two pictures.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(real), len(other)) < 2:
        raise MetricsError(
            "count", min(len(real), len(other)), "is too few for a covariance", "use 2 or more"
        )
    metric = FrechetInceptionDistance(feature=_Precomputed(real.shape[1]))
    metric.update(real, real=True)
    metric.update(other, real=False)
    return Distance(float(metric.compute()), 0.0, len(real), len(other), 0, 0)
