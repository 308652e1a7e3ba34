"""What papers share whose critic tells classes: drawn labels, and terms on its second head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Drawn, PictureGenerator, Scores
from training.compose import Condition
from training.recipe import Batch, Networks, one_hot
from training.regularizers import Play, Regularizer


def drawn_labels(classes: int) -> Condition:
    """Labels that fakes are asked for, all as likely, whatever the real samples show.

    Returns:
        From a batch to ``(n, classes)`` one-hot rows.
    """
    return lambda batch: one_hot(batch.noise.integers("asked", classes), classes)


def draw(networks: Networks, batch: Batch, name: str, condition: Tensor | None = None) -> Tensor:
    """Draw as many samples as the batch has.

    Args:
        networks: The generator is among them.
        batch: Gives the noise.
        name: Of the noise; different names draw apart.
        condition: ``(n, condition_dim)``; None draws without.

    Returns:
        ``(n, ...)`` samples, with gradient where it is on.
    """
    generator = cast(PictureGenerator, networks["generator"])
    if condition is None:
        condition = torch.zeros(len(batch), 0, device=batch.pictures.device)
    noise = batch.noise.normal(name, generator.noise_dim)
    return cast(Drawn, generator(condition, noise)).pictures[-1]


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


@dataclass(frozen=True)
class TellClasses(Regularizer):
    """The discriminator's -L_C: cross-entropy of the true label, and of the asked one of fakes.

    Odena, Olah and Shlens, 2017, 1610.09585, eq. 3. The second head gives logits, one a class.
    """

    name: str = "classes"

    def loss(self, play: Play) -> Tensor:
        """Return the sum of the two cross-entropies, a scalar in nats."""
        real = F.cross_entropy(play.real_scores.class_logits, play.batch.classes)
        return real + F.cross_entropy(play.fake_scores.class_logits, play.condition.argmax(dim=1))


@dataclass(frozen=True)
class ShowClasses(Regularizer):
    """The generator's -L_C: cross-entropy of the label that it was asked for. 1610.09585, eq. 3."""

    name: str = "asked_classes"
    player: ClassVar[str] = "generator"

    def loss(self, play: Play) -> Tensor:
        """Return the cross-entropy, a scalar in nats."""
        return F.cross_entropy(play.fake_scores.class_logits, play.condition.argmax(dim=1))
