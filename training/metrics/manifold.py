"""Fidelity and variety apart: precision, recall, density, coverage of two sets of features.

Both pairs of figures draw a ball around each sample, up to its k-th nearest neighbour of its own
set, and ask who lies in whose balls. Precision and recall: Kynkäänniemi et al., 2019,
arXiv:1904.06991, eq. 1 and 2. Density and coverage: Naeem et al., 2020, arXiv:2002.09797, eq. 5
and 6, which an outlier with a huge ball does not mislead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.metrics.errors import MetricsError

_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Manifold:
    """Four shares; density alone may pass 1.

    Attributes:
        precision: share of the generated samples that lie in the ball of a real one.
        recall: share of the real samples that lie in the ball of a generated one.
        density: in how many real balls a generated sample lies, on average, divided by k.
        coverage: share of the real samples whose ball holds a generated one.
        neighbours: k.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int


def manifold(real: Tensor, other: Tensor, *, neighbours: int = 5) -> Manifold:
    """Compare feature sets (n, d) and (m, d).

    Args:
        real: features of the reference pictures.
        other: features of the pictures to be judged.
        neighbours: k; a larger one makes larger balls and kinder figures.

    Raises:
        MetricsError: a set holds no more than k samples, or the widths differ.
    """
    smallest = min(len(real), len(other))
    if not 1 <= neighbours < smallest:
        raise MetricsError(
            "neighbours",
            neighbours,
            f"is not from 1 to less than the {smallest} samples of the smaller set",
            "measure more samples or use fewer neighbours",
        )
    if real.shape[1:] != other.shape[1:]:
        raise MetricsError(
            "features", tuple(other.shape), f"do not fit {tuple(real.shape)}", "use one network"
        )
    real, other = real.double(), other.double()
    real_radius = nearest_distances(real, real, neighbours, skip_self=True)[0][:, -1]
    other_radius = nearest_distances(other, other, neighbours, skip_self=True)[0][:, -1]
    inside_real = torch.zeros(len(other), dtype=torch.int64)
    recalled, covered = [], []
    for start in range(0, len(real), _CHUNK):
        distances = torch.cdist(real[start : start + _CHUNK], other)
        within = distances <= real_radius[start : start + _CHUNK, None]
        inside_real += within.sum(dim=0)
        covered.append(within.any(dim=1))
        recalled.append((distances <= other_radius).any(dim=1))
    return Manifold(
        precision=float((inside_real > 0).double().mean()),
        recall=float(torch.cat(recalled).double().mean()),
        density=float(inside_real.double().mean() / neighbours),
        coverage=float(torch.cat(covered).double().mean()),
        neighbours=neighbours,
    )


def nearest_distances(
    queries: Tensor, among: Tensor, count: int, *, skip_self: bool = False
) -> tuple[Tensor, Tensor]:
    """Return Euclidean distances (n, count) and row numbers (n, count) of the nearest neighbours.

    Args:
        queries: (n, d).
        among: (m, d), where neighbours are looked for.
        count: of neighbours, nearest first.
        skip_self: `among` is `queries`: a sample is no neighbour of itself.

    Raises:
        MetricsError: `among` holds fewer than `count` samples.
    """
    if not 1 <= count <= len(among) - int(skip_self):
        raise MetricsError(
            "count", count, f"is not from 1 to what {len(among)} samples offer", "ask for fewer"
        )
    distances, rows = [], []
    for start in range(0, len(queries), _CHUNK):
        part = torch.cdist(queries[start : start + _CHUNK], among)
        if skip_self:
            places = torch.arange(len(part))
            part[places, start + places] = torch.inf
        nearest = part.topk(count, dim=1, largest=False, sorted=True)
        distances.append(nearest.values)
        rows.append(nearest.indices)
    if not distances:
        return torch.empty(0, count), torch.empty(0, count, dtype=torch.int64)
    return torch.cat(distances), torch.cat(rows)
