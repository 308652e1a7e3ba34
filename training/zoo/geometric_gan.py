"""Geometric GAN: the support vector machine's margin."""

from __future__ import annotations

from training.compose import compose
from training.networks import usual_critic, usual_generator
from training.objectives import hinge
from training.optimizers import RMSProp
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="A", data="grid25")
def geometric_gan(
    spec: Spec,
    *,
    n_dis: int = 1,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Geometric GAN: a margin between real and fake, and a generator that moves straight across.

    Lim and Ye, 2017, arXiv:1705.02894.

    L_D = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))                              (eq. 24)
    L_G = -E D(G(z))                                                              (eq. 25)

    D is a soft-margin support vector machine on the features of its last layer: samples beyond the
    margin no longer move it. G moves along the hyperplane's normal.

    Deviations: points take linear layers and pictures DCGAN's networks; the noise is normal; the
    weight decay on D's last layer is left out, as in all later uses of this loss.

    Args:
        spec: What the data is.
        n_dis: Discriminator steps a generator step.
        learning_rate: Of RMSProp, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    return compose(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_critic(spec, width=width, norm=norm),
        objective=hinge,
        optimizer=RMSProp(learning_rate),
        n_dis=n_dis,
        batch_size=batch_size,
    )
