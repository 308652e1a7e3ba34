"""f-GAN: any f-divergence, by its variational bound."""

from __future__ import annotations

from training.compose import compose
from training.divergences import divergence_of, variational
from training.networks import usual_critic, usual_generator
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="A", data="mnist")
def f_gan(
    spec: Spec,
    *,
    divergence: str = "js",
    saturating: bool = False,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Variational divergence minimisation: a sampler under whichever f-divergence is chosen.

    Nowozin, Cseke and Tomioka, 2016, arXiv:1606.00709.

    D_f(P, Q) = E_Q f(p/q) >= sup_T  E_P T(x) - E_Q f*(T(x))                       (eq. 4)
    min_θ max_ω  F = E_P g_f(V_ω(x)) - E_Q f*(g_f(V_ω(x)))                         (eq. 6 and 7)

    The critic gives V; g_f squeezes it into the domain of the conjugate f* (table 2). One gradient
    step of each player a batch (algorithm 1). Section 3.2: G rather maximises E_Q g_f(V) than
    minimising F, as F's gradient vanishes while the critic is sure. The critic takes a sample for
    real where T > f'(1).

    Deviations: DCGAN's networks for pictures and linear layers for points, instead of the paper's
    layers of 1200 and 240 units on MNIST; batches of 64 instead of 4096; the noise is normal. The
    paper's total variation is left out; Neyman's χ² of its supplement is in.

    Args:
        spec: What the data is.
        divergence: kl, reverse-kl, pearson, neyman, hellinger, js or gan.
        saturating: G minimises F itself (eq. 6).
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    return compose(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_critic(spec, width=width, norm=norm),
        objective=variational(divergence_of(divergence), saturating=saturating),
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
