"""The supervised part of semi-supervised losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from training.errors import TrainingError
from training.regularizers import Play, Regularizer


@dataclass(frozen=True)
class Supervised(Regularizer):
    """``-log p(y | x)`` of the critic's second head, on the rows that have a label."""

    weight: float = 1.0
    name: str = "supervised"
    reads_classes: ClassVar[bool] = True

    def loss(self, play: Play) -> Tensor:
        """Return the mean cross-entropy in nats, a scalar."""
        if play.batch.labelled is None:
            raise TrainingError("labels: the batch has none; train on data with some labels")
        pictures, labels = play.batch.labelled
        return F.cross_entropy(play.seen(pictures, "augment-labelled").class_logits, labels)
