"""How far a caption is from the captions that a model was trained on.

A generator draws something for every embedding. For a caption unlike all that it has seen, what it
draws has little to do with the words, and the person who asked should be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.errors import InvalidInput

__all__ = ["Familiarity", "caption_statistics"]

# People word things in other ways than a data set does. So a caption is far only beyond what 99 of
# 100 training captions keep within and a quarter more, and beyond six tenths of the distance that
# two training captions usually have. What this catches on the illustrated birds is told by
# `python -m benchmarks.control`.
FAR_QUANTILE = 0.99
FAR_MARGIN = 1.25
FAR_SHARE = 0.6
_QUANTILES = 101
_SHUFFLE_SEED = 0
# Of the training captions so many are learned from, and so many others measured.
_CAPTIONS = 2000
# The centres of a bundle are to weigh little beside its networks.
_CENTRES_BYTES = 184 * 1024
_ROUNDS = 20


def caption_statistics(embeddings: Tensor, *, centres: int | None = None) -> dict[str, Tensor]:
    """Return what a bundle keeps of its training captions, for `statistics.safetensors`.

    The centres of groups of captions are kept to measure distances to, which takes a tenth of the
    room of captions themselves and separates as well; the distances of other training captions to
    them say which distance is ordinary.

    Args:
        embeddings: `(n, dim)` of the training captions, as the encoder returns them, n >= 2.
        centres: how many to keep at most; None for what fits into 184 KiB. Half of the captions,
            and beyond 2,000 the rest, are never learned from.

    Returns:
        `captions` `(m, dim)` float16 of length 1, the centres; `distance_quantiles` `(101,)`
        float32, the quantiles 0, 0.01, … 1 of the cosine distance of up to 2,000 other captions to
        the nearest centre; `pair_distance` `(1,)` float32, the median distance of two captions;
        `embedding_mean` and `embedding_std` `(dim,)` float32.

    Raises:
        InvalidInput: if there are fewer than two different captions or a value is not finite.
    """
    if embeddings.dim() != 2 or not bool(torch.isfinite(embeddings).all()):
        raise InvalidInput(
            "embeddings", tuple(embeddings.shape), "are not finite rows", "give (n, dim) numbers"
        )
    values = embeddings.float().cpu()
    different = torch.unique(values, dim=0)
    if len(different) < 2:
        raise InvalidInput(
            "embeddings", len(different), "has fewer than two different captions", "give more"
        )
    shuffler = torch.Generator().manual_seed(_SHUFFLE_SEED)
    different = different[torch.randperm(len(different), generator=shuffler)]
    count = min(_CAPTIONS, len(different) // 2)
    learned = F.normalize(different[:count], dim=1)
    limit = centres or max(1, _CENTRES_BYTES // (2 * values.shape[1]))
    # Rounded first: the distances must be those to what is kept.
    kept = _centres(learned, min(limit, count)).half()
    distances = _nearest(different[count : count + _CAPTIONS], kept.float())
    return {
        "captions": kept,
        "distance_quantiles": torch.quantile(distances, torch.linspace(0, 1, _QUANTILES)),
        "pair_distance": _pair_distance(learned),
        "embedding_mean": values.mean(0),
        "embedding_std": values.std(0, unbiased=False),
    }


@dataclass(frozen=True, slots=True)
class Familiarity:
    """Measures how far captions are from those a model was trained on.

    Args:
        captions: `(m, dim)` centres of training captions, or captions themselves, of length 1.
        threshold: the largest ordinary cosine distance.
    """

    captions: Tensor
    threshold: float

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Tensor]) -> Familiarity:
        """Make it from what `caption_statistics` returned.

        Raises:
            InvalidInput: if the statistics lack captions or quantiles; without `pair_distance`
                the quantiles alone decide.
        """
        parts = {"captions": 2, "distance_quantiles": 1}
        for name, dims in parts.items():
            if name not in statistics or statistics[name].dim() != dims:
                raise InvalidInput(
                    "statistics",
                    sorted(statistics),
                    f"lack {name}",
                    "make them with caption_statistics",
                )
        quantiles = statistics["distance_quantiles"]
        ordinary = float(quantiles[round(FAR_QUANTILE * (len(quantiles) - 1))])
        pair = statistics.get("pair_distance")
        usual = 0.0 if pair is None else float(pair[0])
        return cls(
            F.normalize(statistics["captions"].float(), dim=1),
            max(FAR_MARGIN * ordinary, FAR_SHARE * usual),
        )

    def distances(self, embeddings: Tensor) -> Tensor:
        """Return each embedding's distance to the nearest centre of training captions.

        Args:
            embeddings: `(n, dim)`.

        Returns:
            `(n,)` cosine distances: 0 the same direction, 1 unrelated, 2 opposite.
        """
        return _nearest(embeddings.float(), self.captions)


def _centres(captions: Tensor, count: int) -> Tensor:
    """Return `(count, dim)` centres of length 1, by k-means on the sphere (Dhillon & Modha, 2001).

    It begins with the first captions, which were shuffled; a centre that loses all stays put.
    """
    centres = captions[:count]
    for _ in range(_ROUNDS if count < len(captions) else 0):
        nearest = (captions @ centres.t()).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, captions)
        found = sums.norm(dim=1, keepdim=True) > 0
        centres = torch.where(found, F.normalize(sums, dim=1), centres)
    return centres


def _nearest(embeddings: Tensor, captions: Tensor) -> Tensor:
    cosines = F.normalize(embeddings, dim=1) @ captions.t()
    return (1.0 - cosines.amax(dim=1)).clamp(min=0.0)


def _pair_distance(captions: Tensor) -> Tensor:
    # Neighbours in a shuffled list are as good as any pairs.
    neighbours = captions.roll(1, dims=0)
    cosines = (captions * neighbours).sum(1) / (captions.norm(dim=1) * neighbours.norm(dim=1))
    median: Tensor = (1.0 - cosines).median()
    return median.reshape(1)
