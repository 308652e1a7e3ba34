"""Adversarial losses: pure functions on logits.

An objective says what a discriminator wants of the logits of real and of fake examples, and what
the generator wants of the logits of its own. Which examples count as real or fake is the recipe's
business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Adversarial(Protocol):
    """What two players want of logits ``(n,)``; every loss is the mean over the batch."""

    @property
    def compares(self) -> bool:
        """Whether the generator's loss looks at the logits of real examples too."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's scalar loss."""

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the generator's scalar loss; ``real`` only where the objective compares."""


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

    @property
    def compares(self) -> bool:
        """Whether the generator's loss looks at the logits of real examples too: never."""
        return False

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return ``real(real) + fake(fake)``."""
        return self.real(real) + self.fake(fake)

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return ``generator(fake)``."""
        return self.generator(fake)

    def matching_aware_loss(self, right: Tensor, wrong: Tensor, fake: Tensor) -> Tensor:
        """Return the loss of a discriminator that judges pairs of picture and caption.

        Reed et al., 2016, 1605.05396, algorithm 1: ``real(right) + ½ (fake(wrong) + fake(fake))``.

        Args:
            right: Logits of real pictures with captions that are true of them.
            wrong: Logits of real pictures with captions that are not.
            fake: Logits of generated pictures with the captions that they were drawn for.
        """
        return self.real(right) + 0.5 * (self.fake(wrong) + self.fake(fake))


@dataclass(frozen=True)
class Relativistic:
    """Is a real example more real than a fake one? Jolicoeur-Martineau, 2018, 1807.00734.

    Attributes:
        average: Compare with the mean of the other side (RaSGAN, eq. 7 and 8) instead of with one
            example each (RSGAN, eq. 5 and 6).
    """

    average: bool = True

    @property
    def compares(self) -> bool:
        """Whether the generator's loss looks at the logits of real examples too: always."""
        return True

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return -log σ(real - fake), and for the average form the fakes' side as well."""
        if not self.average:
            return F.softplus(fake - real).mean()
        below = F.softplus(fake.mean() - real).mean()
        above = F.softplus(fake - real.mean()).mean()
        return below + above

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the discriminator's loss with the sides exchanged."""
        assert real is not None
        return self.discriminator_loss(fake, real)


@dataclass(frozen=True)
class Margin:
    """A real example's logit must lead a fake one's. Juefei-Xu et al., 2017, 1704.04865.

    Each real example is paired with one fake; pairs that are a margin apart are left alone.

    Attributes:
        margin: ε, how far ahead the real example must be.
    """

    margin: float = 1.0

    @property
    def compares(self) -> bool:
        """Whether the generator's loss looks at the logits of real examples too: never."""
        return False

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return E max(0, fake + ε - real)."""
        return F.relu(fake + self.margin - real).mean()

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return -E fake."""
        return -fake.mean()


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

# Goodfellow et al. 2014, 1406.2661, eq. 1: the generator minimises log(1 - σ(x)), whose gradient
# vanishes where the discriminator is sure.
minimax = Objective(
    real=non_saturating.real,
    fake=non_saturating.fake,
    generator=lambda logits: -F.softplus(logits).mean(),
)

# Hjelm et al. 2017, 1702.08431, for continuous data: the generator seeks D = 1/2, where the logit
# is 0.
boundary_seeking = Objective(
    real=non_saturating.real,
    fake=non_saturating.fake,
    generator=lambda logits: 0.5 * logits.square().mean(),
)

# Arjovsky et al. 2017, 1701.07875, eq. 2 and algorithm 1: the critic's loss is minus its estimate
# of the Wasserstein distance (times its Lipschitz constant).
wasserstein = Objective(
    real=lambda logits: -logits.mean(),
    fake=lambda logits: logits.mean(),
    generator=lambda logits: -logits.mean(),
)


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> Objective:
    """Least squares towards codes. Mao et al., 2017, 1611.04076, eq. 2.

    Args:
        a: What the discriminator wants of fakes.
        b: What it wants of real examples.
        c: What the generator wants of its own. The paper's settings are (0, 1, 1) (eq. 9), and
            (-1, 1, 0) (eq. 8), which minimises Pearson's χ² since b - c = 1 and b - a = 2.
    """
    return Objective(
        real=lambda logits: 0.5 * (logits - b).square().mean(),
        fake=lambda logits: 0.5 * (logits - a).square().mean(),
        generator=lambda logits: 0.5 * (logits - c).square().mean(),
    )


def smoothed(objective: Objective, real: float = 0.9) -> Objective:
    """Soften the target of real examples only. Salimans et al., 2016, 1606.03498, section 3.4.

    Args:
        objective: Whose losses are -log of the probability of real and of fake.
        real: Target probability of real examples.
    """
    return Objective(
        real=lambda logits: real * objective.real(logits) + (1.0 - real) * objective.fake(logits),
        fake=objective.fake,
        generator=objective.generator,
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
    return mutual_choice((pictures @ captions.t()) / temperature, also_true)


def mutual_choice(logits: Tensor, also_true: Tensor) -> Tensor:
    """Cross-entropy of choosing the own caption for each picture, and the own picture for each.

    Args:
        logits: ``(n, n)``: how well caption j goes with picture i.
        also_true: ``(n, n)`` booleans: caption j is true of picture i as well. Such pairs count
            neither for nor against. The diagonal is ignored.

    Returns:
        Scalar, in nats, the mean of both directions; log n at chance.
    """
    n = len(logits)
    own = torch.eye(n, dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(also_true & ~own, -1e4)
    target = torch.arange(n, device=logits.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))


def conditioning_kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL divergence of N(mu, sigma²) from N(0, 1), mean over batch and dimensions.

    StackGAN (1612.03242) eq. 3: ½ (mu² + sigma² - 1) - log sigma for each dimension.
    """
    return (0.5 * (mu.square() + (2.0 * log_sigma).exp() - 1.0) - log_sigma).mean()


def mode_seeking_loss(first: Tensor, second: Tensor, noise: Tensor, other: Tensor) -> Tensor:
    """Make different noise give different pictures. MSGAN (1903.05628), eq. 4 and 5, inverted.

    The ratio is taken pair by pair: over the whole batch, captions that leave much open would hide
    those whose pictures have all become one.

    Args:
        first: ``(n, 3, r, r)`` pictures of some captions, drawn with ``noise``.
        second: ``(n, 3, r, r)`` pictures of the same captions, drawn with ``other``.
        noise: ``(n, d)``.
        other: ``(n, d)``.

    Returns:
        Scalar: mean over the pairs of the noise's distance over the pictures', both mean absolute.
    """
    apart = (first - second).abs().mean(dim=(1, 2, 3))
    return ((noise - other).abs().mean(dim=1) / (apart + 1e-2)).mean()


def colour_consistency(fine: Tensor, coarse: Tensor, covariance_weight: float = 5.0) -> Tensor:
    """Let pictures of two scales agree in their colours. StackGAN-v2, 1710.10916, section 4.3.

    Args:
        fine: ``(n, c, r, r)`` pictures.
        coarse: ``(n, c, s, s)`` pictures of the scale before, which are taken as they are.
        covariance_weight: λ2, beside λ1 = 1 for the means.

    Returns:
        Scalar: mean over the batch of the squared distance of the pictures' mean colours, and λ2
        times that of the covariances of their colours over all places.
    """
    (mean, covariance), (aim, aimed) = _colours(fine), _colours(coarse.detach())
    apart = (mean - aim).square().sum(dim=1)
    return (apart + covariance_weight * (covariance - aimed).square().sum(dim=(1, 2))).mean()


def _colours(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean ``(n, c)`` and covariance ``(n, c, c)`` of each picture's colours."""
    places = pictures.float().flatten(2)
    mean = places.mean(dim=2)
    away = places - mean[:, :, None]
    # Not a matrix product: bfloat16 would keep three digits of it.
    return mean, (away[:, :, None] * away[:, None]).mean(dim=3)
