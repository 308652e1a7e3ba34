"""The f-divergences of f-GAN as objectives (Nowozin et al., 2016, 1606.00709, tables 1 and 2).

A divergence ``D_f(P, Q) = E_Q[f(p/q)]`` is bounded below by ``E_P[T] - E_Q[f*(T)]`` (eq. 4), where
``T = g_f(V)`` is the discriminator's logit squeezed into the domain of the conjugate f*. The bound
is tight at ``T = f'(p/q)``. `bregman` plays on the ratio p/q itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.errors import TrainingError
from training.objectives import Objective

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Divergence:
    """One row of the paper's tables. All functions work element by element.

    Attributes:
        f: The convex function of the density ratio u > 0, with f(1) = 0 but for ``gan``.
        slope: Its derivative f', the best T for the ratio u.
        conjugate: f*(t) = sup_u (u t - f(u)).
        activation: g_f, from any logit into the domain of f*; increasing.
        conjugate_of_logit: f*(g_f(v)), simplified so that it neither overflows early nor takes a
            logarithm of zero.
        threshold: f'(1), between what counts as real and as fake.
    """

    f: Function
    slope: Function
    conjugate: Function
    activation: Function
    conjugate_of_logit: Function
    threshold: float

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the lower bound of the divergence from logits ``(n,)`` (eq. 4), a scalar."""
        return self.activation(real).mean() - self.conjugate_of_logit(fake).mean()


kullback_leibler = Divergence(
    f=lambda u: u * u.log(),
    slope=lambda u: 1.0 + u.log(),
    conjugate=lambda t: (t - 1.0).exp(),
    activation=lambda v: v,
    conjugate_of_logit=lambda v: (v - 1.0).exp(),
    threshold=1.0,
)
reverse_kullback_leibler = Divergence(
    f=lambda u: -u.log(),
    slope=lambda u: -1.0 / u,
    conjugate=lambda t: -1.0 - (-t).log(),
    activation=lambda v: -(-v).exp(),
    conjugate_of_logit=lambda v: v - 1.0,
    threshold=-1.0,
)
pearson = Divergence(
    f=lambda u: (u - 1.0).square(),
    slope=lambda u: 2.0 * (u - 1.0),
    conjugate=lambda t: 0.25 * t.square() + t,
    activation=lambda v: v,
    conjugate_of_logit=lambda v: 0.25 * v.square() + v,
    threshold=0.0,
)
neyman = Divergence(
    f=lambda u: (1.0 - u).square() / u,
    slope=lambda u: 1.0 - 1.0 / u.square(),
    conjugate=lambda t: 2.0 - 2.0 * (1.0 - t).sqrt(),
    activation=lambda v: 1.0 - (-v).exp(),
    conjugate_of_logit=lambda v: 2.0 - 2.0 * (-0.5 * v).exp(),
    threshold=0.0,
)
squared_hellinger = Divergence(
    f=lambda u: (u.sqrt() - 1.0).square(),
    slope=lambda u: 1.0 - 1.0 / u.sqrt(),
    conjugate=lambda t: t / (1.0 - t),
    activation=lambda v: 1.0 - (-v).exp(),
    conjugate_of_logit=lambda v: v.exp() - 1.0,
    threshold=0.0,
)
jensen_shannon = Divergence(
    f=lambda u: u * u.log() - (u + 1.0) * (0.5 * (1.0 + u)).log(),
    slope=lambda u: math.log(2.0) + (u / (1.0 + u)).log(),
    conjugate=lambda t: -(2.0 - t.exp()).log(),
    activation=lambda v: math.log(2.0) - F.softplus(-v),
    conjugate_of_logit=lambda v: F.softplus(v) - math.log(2.0),
    threshold=0.0,
)
gan = Divergence(
    f=lambda u: u * u.log() - (u + 1.0) * (u + 1.0).log(),
    slope=lambda u: (u / (1.0 + u)).log(),
    conjugate=lambda t: -(1.0 - t.exp()).log(),
    activation=lambda v: -F.softplus(-v),
    conjugate_of_logit=F.softplus,
    threshold=-math.log(2.0),
)

DIVERGENCES = {
    "kl": kullback_leibler,
    "reverse-kl": reverse_kullback_leibler,
    "pearson": pearson,
    "neyman": neyman,
    "hellinger": squared_hellinger,
    "js": jensen_shannon,
    "gan": gan,
}


def divergence_of(name: str) -> Divergence:
    """Return a divergence by its name.

    Raises:
        TrainingError: There is none of that name.
    """
    if name not in DIVERGENCES:
        raise TrainingError(
            f"divergence: {name!r} is not known; give one of {', '.join(DIVERGENCES)}"
        )
    return DIVERGENCES[name]


def variational(divergence: Divergence, *, saturating: bool = False) -> Objective:
    """Return the game on a divergence's bound (eq. 6).

    Args:
        divergence: Which.
        saturating: Let the generator minimise the bound itself, -E[f*(g_f(V))]; otherwise it
            maximises E[g_f(V)] (section 3.2), whose gradient does not vanish early.
    """

    def generator(logits: Tensor) -> Tensor:
        if saturating:
            return -divergence.conjugate_of_logit(logits).mean()
        return -divergence.activation(logits).mean()

    return Objective(
        real=lambda logits: -divergence.activation(logits).mean(),
        fake=lambda logits: divergence.conjugate_of_logit(logits).mean(),
        generator=generator,
    )


def ratio_of(logits: Tensor, relative: float = 0.0) -> Tensor:
    """Return b-GAN's estimate of the density ratio from logits, element by element.

    Args:
        logits: Any numbers.
        relative: α of the relative ratio p / (α p + (1 - α) q), which is below 1/α; 0 for p / q.
    """
    # Some divergences take the logarithm or the inverse of the ratio.
    if relative:
        return (logits.sigmoid() + 1e-6) / relative
    return F.softplus(logits) + 1e-6


def bregman(divergence: Divergence, relative: float = 0.0) -> Objective:
    """Return the game of estimating the density ratio and of making it 1: b-GAN, 1610.02920.

    The critic minimises the Bregman divergence of its ratio from the true one, up to a constant;
    the generator the f-divergence that the ratio tells. f is taken with f'(1) = 0, by adding a
    multiple of r - 1, which has a mean of 0 under q.

    Args:
        divergence: Whose f.
        relative: α, the share of p in the denominator.

    Raises:
        TrainingError: The share is not from 0 up to, but without, 1.
    """
    if not 0.0 <= relative < 1.0:
        raise TrainingError(f"relative: is {relative}; give 0 or more, and less than 1")

    def beyond(ratio: Tensor) -> Tensor:
        return divergence.slope(ratio) * ratio - divergence.f(ratio)

    def real(logits: Tensor) -> Tensor:
        ratio = ratio_of(logits, relative)
        return (relative * beyond(ratio) - divergence.slope(ratio)).mean()

    def fake(logits: Tensor) -> Tensor:
        return (1.0 - relative) * beyond(ratio_of(logits, relative)).mean()

    def generator(logits: Tensor) -> Tensor:
        ratio = ratio_of(logits, relative)
        even = divergence.f(ratio) - divergence.threshold * (ratio - 1.0)
        return (1.0 - relative) * even.mean()

    return Objective(real=real, fake=fake, generator=generator)


def true_divergence(divergence: Divergence, ratio: Tensor) -> Tensor:
    """Return E_Q[f(p/q)] from the known ratio p/q at examples of Q, a scalar."""
    return divergence.f(ratio.to(torch.float64)).mean()
