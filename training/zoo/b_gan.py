"""b-GAN: the density ratio by Bregman divergence, then an f-divergence of that ratio."""

from __future__ import annotations

from training.compose import compose
from training.divergences import bregman, divergence_of
from training.networks import usual_critic, usual_generator
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="A", data="grid25")
def b_gan(
    spec: Spec,
    *,
    divergence: str = "pearson",
    relative: float = 0.0,
    learning_rate: float = 1e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Density ratio estimation: the critic learns p/q itself, and the generator evens it out.

    Uehara, Sato, Suzuki, Nakayama and Matsuo, 2016, arXiv:1610.02920.

    D:  BR_f(r) = E_q [f'(r) r - f(r)] - E_p f'(r)  is least at r = p/q        (Bregman divergence)
    G:  E_q f(r), the f-divergence of p from q by the ratio that D has learned

    q is what G draws. With ``relative`` α the ratio is that of p to α p + (1 - α) q, which stays
    below 1/α where q has no mass: the relative density ratio, which the paper finds useful.

    Deviations: r = softplus(logit), or sigmoid(logit)/α, keeps the ratio positive; f is taken with
    f'(1) = 0, by adding a multiple of r - 1, which changes neither the divergence nor BR_f but lets
    G move towards r = 1 whichever f is chosen; points take linear layers and pictures DCGAN's
    networks; the noise is normal. Optimizer and sizes are DCGAN's; the paper's could not be
    compared.

    Args:
        spec: What the data is.
        divergence: kl, reverse-kl, pearson, neyman, hellinger, js or gan.
        relative: Share of p in the ratio's denominator, from 0 up to, but without, 1.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    return compose(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_critic(spec, width=width, norm=norm),
        objective=bregman(divergence_of(divergence), relative),
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
