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

__all__ = ["FAR_MARGIN", "FAR_QUANTILE", "Familiarity", "caption_statistics"]

# Beyond what 99 of 100 training captions keep within, and a quarter more: people word things in
# other ways than a data set does. On the illustrated birds this is 0.25; "small bird with red head"
# has 0.07, "bird" 0.22, "a small brown owl on a branch at night" 0.24, "a fish swimming in the sea"
# 0.27, "a red car" 0.43, "quarterly tax report" 0.89.
FAR_QUANTILE = 0.99
FAR_MARGIN = 1.25
_QUANTILES = 101
_SHUFFLE_SEED = 0


def caption_statistics(embeddings: Tensor, *, sample: int = 2000) -> dict[str, Tensor]:
    """Return what a bundle keeps of its training captions, for `statistics.safetensors`.

    Some captions are kept as neighbours to measure distances to; the distances of other training
    captions to them say which distance is ordinary.

    Args:
        embeddings: `(n, dim)` of the training captions, as the encoder returns them, n >= 2.
        sample: how many captions to keep at most; half of the captions are never kept.

    Returns:
        `captions` `(m, dim)` float16 of length 1; `distance_quantiles` `(101,)` float32, the
        quantiles 0, 0.01, … 1 of the cosine distance of up to 2,000 captions that were not kept to
        the nearest that was; `embedding_mean` and `embedding_std` `(dim,)` float32.

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
    count = max(1, min(sample, len(different) // 2))
    # Rounded first: the distances must be those to what is kept.
    kept = F.normalize(different[:count], dim=1).half()
    distances = _nearest(different[count : count + 2000], kept.float())
    return {
        "captions": kept,
        "distance_quantiles": torch.quantile(distances, torch.linspace(0, 1, _QUANTILES)),
        "embedding_mean": values.mean(0),
        "embedding_std": values.std(0, unbiased=False),
    }


@dataclass(frozen=True, slots=True)
class Familiarity:
    """Measures how far captions are from those a model was trained on.

    Args:
        captions: `(m, dim)` embeddings of training captions, of length 1.
        threshold: the largest ordinary cosine distance.
    """

    captions: Tensor
    threshold: float

    @classmethod
    def from_statistics(
        cls, statistics: Mapping[str, Tensor], quantile: float = FAR_QUANTILE
    ) -> Familiarity:
        """Make it from what `caption_statistics` returned.

        Raises:
            InvalidInput: if the statistics lack a part.
        """
        captions, quantiles = statistics.get("captions"), statistics.get("distance_quantiles")
        if captions is None or quantiles is None or captions.dim() != 2 or quantiles.dim() != 1:
            raise InvalidInput(
                "statistics",
                sorted(statistics),
                "lack captions or distance_quantiles",
                "make them with caption_statistics",
            )
        threshold = FAR_MARGIN * float(quantiles[round(quantile * (len(quantiles) - 1))])
        return cls(F.normalize(captions.float(), dim=1), threshold)

    def distances(self, embeddings: Tensor) -> Tensor:
        """Return each embedding's distance to the nearest training caption.

        Args:
            embeddings: `(n, dim)`.

        Returns:
            `(n,)` cosine distances: 0 the same direction, 1 unrelated, 2 opposite.
        """
        return _nearest(embeddings.float(), self.captions)


def _nearest(embeddings: Tensor, captions: Tensor) -> Tensor:
    cosines = F.normalize(embeddings, dim=1) @ captions.t()
    return (1.0 - cosines.amax(dim=1)).clamp(min=0.0)
