"""All distances and shares of two sets of pictures over one feature network, each with its floor.

The features of real pictures are made once and kept: a table of many runs asks for them again and
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.metrics.errors import MetricsError
from training.metrics.features import FeatureNetwork, Progress, extract
from training.metrics.fidelity import fid, kid
from training.metrics.manifold import manifold
from training.metrics.score import Score

Measure = Literal["fid", "kid", "precision", "recall", "density", "coverage"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


class PictureReference:
    """Real pictures in two parts: those that are compared with, and spare ones for the floor.

    Args:
        network: where features are made.
        real: (n, h, w, 1 or 3) uint8.
        spare: (m, h, w, 1 or 3) uint8, other pictures of the same source. As many as there will be
            generated ones make the fairest floor, since FID falls with the count.
        progress: called with the number of pictures done.

    Raises:
        MetricsError: a part is too small.
    """

    def __init__(
        self,
        network: FeatureNetwork,
        real: NDArray[np.uint8],
        spare: NDArray[np.uint8],
        *,
        progress: Progress | None = None,
    ) -> None:
        for name, part in (("real", real), ("spare", spare)):
            if len(part) < 2:
                raise MetricsError(name, len(part), "is too few to measure", "give 2 or more")
        self.network = network
        self.real = extract(network, real, progress=progress)
        self.spare = extract(network, spare, progress=progress)
        self._floors: dict[tuple[object, ...], dict[Measure, float]] = {}

    def score(
        self,
        pictures: NDArray[np.uint8],
        measures: Sequence[Measure] = MEASURES,
        *,
        subsets: int = 100,
        subset_size: int = 500,
        neighbours: int = 5,
        progress: Progress | None = None,
    ) -> tuple[Score, ...]:
        """Measure generated pictures (n, h, w, 1 or 3) uint8; see `score_features`."""
        return self.score_features(
            extract(self.network, pictures, progress=progress),
            measures,
            subsets=subsets,
            subset_size=subset_size,
            neighbours=neighbours,
        )

    def score_features(
        self,
        features: Tensor,
        measures: Sequence[Measure] = MEASURES,
        *,
        subsets: int = 100,
        subset_size: int = 500,
        neighbours: int = 5,
    ) -> tuple[Score, ...]:
        """Measure features (n, d) of generated pictures.

        Args:
            features: made by the same network.
            measures: what is measured, in this order.
            subsets: of KID.
            subset_size: pictures in each; made smaller where a set holds fewer.
            neighbours: k of precision, recall, density and coverage.

        Raises:
            MetricsError: a measure is unknown, or there are too few pictures for it.
        """
        unknown = set(measures) - set(MEASURES)
        if unknown or not measures:
            raise MetricsError("measures", sorted(unknown), "are unknown", f"use {MEASURES}")
        subset_size = min(subset_size, len(self.real), len(self.spare), len(features))
        wanted = tuple(measures)
        key = (wanted, subsets, subset_size, neighbours)
        values, spread = _all(self.real, features, wanted, subsets, subset_size, neighbours)
        if key not in self._floors:
            floors, _ = _all(self.real, self.spare, wanted, subsets, subset_size, neighbours)
            self._floors[key] = floors
        return tuple(
            Score(
                name=measure.upper() if measure in ("fid", "kid") else measure,
                value=values[measure],
                floor=self._floors[key][measure],
                count=len(features),
                real=len(self.real),
                floor_count=len(self.spare),
                network=self.network.name,
                resize=self.network.resize,
                spread=spread if measure == "kid" else 0.0,
                better="lower" if measure in ("fid", "kid") else "higher",
                detail=_detail(measure, subsets, subset_size, neighbours),
            )
            for measure in wanted
        )


def _all(
    real: Tensor,
    other: Tensor,
    measures: tuple[Measure, ...],
    subsets: int,
    subset_size: int,
    neighbours: int,
) -> tuple[dict[Measure, float], float]:
    values: dict[Measure, float] = {}
    spread = 0.0
    if "fid" in measures:
        values["fid"] = fid(real, other).value
    if "kid" in measures:
        distance = kid(real, other, subsets=subsets, subset_size=subset_size)
        values["kid"], spread = distance.value, distance.spread
    if set(measures) - {"fid", "kid"}:
        shares = manifold(real, other, neighbours=neighbours)
        values["precision"], values["recall"] = shares.precision, shares.recall
        values["density"], values["coverage"] = shares.density, shares.coverage
    return values, spread


def _detail(
    measure: Measure, subsets: int, subset_size: int, neighbours: int
) -> dict[str, float | int | str]:
    if measure == "fid":
        return {}
    if measure == "kid":
        return {"subsets": subsets, "subset_size": subset_size}
    return {"neighbours": neighbours}
