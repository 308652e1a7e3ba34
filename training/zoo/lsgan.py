"""LSGAN: least squares instead of cross-entropy."""

from __future__ import annotations

from training.compose import compose
from training.networks import usual_critic, usual_generator
from training.objectives import least_squares
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="A", data="ring8")
def lsgan(
    spec: Spec,
    *,
    a: float = 0.0,
    b: float = 1.0,
    c: float = 1.0,
    learning_rate: float = 1e-3,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Least squares GAN: pull scores towards codes, also of what is already on the right side.

    Mao, Li, Xie, Lau, Wang and Smolley, 2017, arXiv:1611.04076.

    L_D = ½ E (D(x) - b)² + ½ E (D(G(z)) - a)²,   L_G = ½ E (D(G(z)) - c)²         (eq. 2)

    (a, b, c) = (-1, 1, 0) minimises Pearson's χ² of p + q from 2q (eq. 8); (0, 1, 1) makes fakes as
    real as possible (eq. 9) and is the default.

    Deviations: points take linear layers and pictures DCGAN's networks; the noise is normal.

    Args:
        spec: What the data is.
        a: What D wants of fakes.
        b: What D wants of real samples.
        c: What G wants of its own.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; the paper also trains without.
        batch_size: Samples a step over all processes.
    """
    return compose(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_critic(spec, width=width, norm=norm),
        objective=least_squares(a, b, c),
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
