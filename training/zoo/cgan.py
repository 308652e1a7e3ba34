"""Conditional GAN: the label goes into both players."""

from __future__ import annotations

from training.compose import compose
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="C", data="mnist")
def cgan(
    spec: Spec,
    *,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 100,
) -> Recipe:
    """Conditional generative adversarial nets: both players are told the label.

    Mirza and Osindero, 2014, arXiv:1411.1784.

    min_G max_D  E log D(x | y) + E log(1 - D(G(z | y) | y))                       (eq. 2)

    y is a one-hot vector beside z in G, and beside x in D. Real and fake samples of a batch have
    the same labels, so D can win only by what x shows of y.

    Deviations: DCGAN's networks instead of linear layers with maxout, with a plane of the picture's
    size an entry of y; points take linear layers. G's loss does not saturate. Adam instead of
    gradient descent with a decaying rate; the noise is normal.

    Args:
        spec: What the data is.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    classes = spec.classes()
    return compose(
        generator=usual_generator(
            spec, condition_dim=classes, noise_dim=noise_dim, width=width, norm=norm
        ),
        discriminator=usual_critic(spec, condition_dim=classes, width=width, norm=norm),
        objective=non_saturating,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
