"""A critic of K + 1 classes: the K of the data, and the generated."""

from __future__ import annotations

import torch
from torch import Tensor

from t2i.networks.base import Critic, Scores


class ClassCritic(Critic):
    """Any unconditional critic with a head of K classes, from which its logit follows.

    Salimans et al., 2016, 1606.03498, section 5: with the logit of class K + 1, "generated", held
    at 0, ``D(x) = Z(x) / (Z(x) + 1)`` for ``Z = Σ_k exp l_k``; so D's logit is ``log Σ_k exp l_k``,
    and the head is trained by the adversarial loss as well.

    Args:
        critic: Computes the features; its own heads are not used.
        classes: K.
    """

    def __init__(self, critic: Critic, classes: int) -> None:
        super().__init__(feature_dim=critic.score.in_features, outputs=classes)
        self.body = critic.without_heads()
        del self.score

    def look(self, pictures: Tensor) -> Tensor:
        """Map samples to the critic's features."""
        return self.body.look(pictures)

    def forward(self, pictures: Tensor, embedding: Tensor | None = None) -> Scores:
        """Score samples; ``classes`` are the logits of the K classes."""
        assert self.head is not None
        features = self.look(pictures)
        classes = self.head(features).float()
        return Scores(torch.logsumexp(classes, dim=1), features.float(), classes)
