"""What papers share whose critic tells classes: drawn labels, and terms on its second head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Scores
from training.compose import Condition
from training.recipe import Networks, one_hot
from training.regularizers import Play, Regularizer


def drawn_labels(classes: int) -> Condition:
    """Labels that fakes are asked for, all as likely, whatever the real samples show.

    Returns:
        From a batch to ``(n, classes)`` one-hot rows.
    """
    return lambda batch: one_hot(batch.noise.integers("asked", classes), classes)


def class_logits(networks: Networks, samples: Tensor) -> Tensor:
    """Return ``(n, outputs)``: what the discriminator's second head says of samples."""
    return class_logits_of(networks["discriminator"], samples)


def class_logits_of(critic: nn.Module, samples: Tensor) -> Tensor:
    """Return ``(n, outputs)``: what any critic's second head says of samples."""
    return cast(Scores, critic(samples)).class_logits


def not_fake(logits: Tensor) -> Tensor:
    """Return the mean of -log(1 - p(fake)), where fake is the last of the ``(n, K + 1)`` classes.

    1 - p(fake) is the sum over all other classes, so that it keeps its digits where it is small.
    """
    return (logits.logsumexp(dim=1) - logits[:, :-1].logsumexp(dim=1)).mean()


def as_fake(logits: Tensor) -> Tensor:
    """Return the mean of -log p(fake), where fake is the last of the ``(n, K + 1)`` classes."""
    return -logits.log_softmax(dim=1)[:, -1].mean()


def entropies(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return H of the mean distribution and the mean H of each, scalars in nats, of ``(n, K)``."""
    log_p = logits.log_softmax(dim=1)
    log_mean = log_p.logsumexp(dim=0) - torch.tensor(float(len(logits))).log()
    return -(log_mean.exp() * log_mean).sum(), -(log_p.exp() * log_p).sum(dim=1).mean()


@dataclass(frozen=True)
class TellClasses(Regularizer):
    """The discriminator's -L_C: cross-entropy of the true label, and of the asked one of fakes.

    Odena, Olah and Shlens, 2017, 1610.09585, eq. 3. The second head gives logits, one a class.
    """

    name: str = "classes"
    reads_classes: ClassVar[bool] = True

    def loss(self, play: Play) -> Tensor:
        """Return the sum of the two cross-entropies, a scalar in nats."""
        real = F.cross_entropy(play.real_scores.class_logits, play.batch.classes)
        return real + F.cross_entropy(play.fake_scores.class_logits, play.condition.argmax(dim=1))


@dataclass(frozen=True)
class ShowClasses(Regularizer):
    """The generator's -L_C: cross-entropy of the label that it was asked for. 1610.09585, eq. 3."""

    name: str = "asked_classes"
    player: ClassVar[str] = "generator"
    reads_classes: ClassVar[bool] = True

    def loss(self, play: Play) -> Tensor:
        """Return the cross-entropy, a scalar in nats."""
        return F.cross_entropy(play.fake_scores.class_logits, play.condition.argmax(dim=1))
