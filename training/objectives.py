"""Adversarial losses: pure functions on logits.

An objective says what a discriminator wants of the logits of real and of fake examples, and what
the generator wants of the logits of its own. Which examples count as real or fake is the recipe's
business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Objective:
    """A pair of players' losses on logits of shape ``(n,)``, each the mean over the batch.

    Attributes:
        real: The discriminator's loss on examples that it should accept.
        fake: The discriminator's loss on examples that it should reject.
        generator: The generator's loss on its own examples.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


# Geometric GAN (Lim & Ye 2017, 1705.02894, eq. 24 and 25): margin for D, linear for G.
hinge = Objective(
    real=lambda logits: F.relu(1.0 - logits).mean(),
    fake=lambda logits: F.relu(1.0 + logits).mean(),
    generator=lambda logits: -logits.mean(),
)

# Goodfellow et al. 2014, 1406.2661, with the generator loss of its section 3 that does not
# saturate: -log σ(x) = softplus(-x).
non_saturating = Objective(
    real=lambda logits: F.softplus(-logits).mean(),
    fake=lambda logits: F.softplus(logits).mean(),
    generator=lambda logits: F.softplus(-logits).mean(),
)


def matching_loss(
    pictures: Tensor, captions: Tensor, also_true: Tensor, temperature: float
) -> Tensor:
    """Match pictures with captions within a batch, in both directions.

    The sentence part of DAMSM (AttnGAN, 1711.10485, eq. 12 and 13) and InfoNCE: cross-entropy of
    picking the own caption for each picture, and the own picture for each caption, by cosine.

    Args:
        pictures: ``(n, d)`` unit vectors.
        captions: ``(n, d)`` unit vectors; row i belongs to picture i.
        also_true: ``(n, n)`` booleans: caption j is true of picture i as well. Such pairs count
            neither for nor against. The diagonal is ignored.
        temperature: Divides the cosines.

    Returns:
        Scalar, in nats; log n at chance.
    """
    n = len(pictures)
    own = torch.eye(n, dtype=torch.bool, device=pictures.device)
    logits = (pictures @ captions.t()) / temperature
    logits = logits.masked_fill(also_true & ~own, -1e4)
    target = torch.arange(n, device=pictures.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))


def conditioning_kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL divergence of N(mu, sigma²) from N(0, 1), mean over batch and dimensions.

    StackGAN (1612.03242) eq. 3: ½ (mu² + sigma² - 1) - log sigma for each dimension.
    """
    return (0.5 * (mu.square() + (2.0 * log_sigma).exp() - 1.0) - log_sigma).mean()


def mode_seeking_loss(first: Tensor, second: Tensor, noise: Tensor, other: Tensor) -> Tensor:
    """Make different noise give different pictures. MSGAN (1903.05628), eq. 4 and 5, inverted.

    Args:
        first: ``(n, 3, r, r)`` pictures of some captions, drawn with ``noise``.
        second: ``(n, 3, r, r)`` pictures of the same captions, drawn with ``other``.
        noise: ``(n, d)``.
        other: ``(n, d)``.

    Returns:
        Scalar: mean distance of the noise over mean distance of the pictures, both mean absolute.
    """
    apart = (first - second).abs().mean()
    return (noise - other).abs().mean() / (apart + 1e-3)
