"""AC-GAN: the discriminator also tells the class."""

from __future__ import annotations

from training.classes import ShowClasses, TellClasses, drawn_labels
from training.compose import compose
from training.networks import usual_critic, usual_generator
from training.objectives import minimax, non_saturating
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="C", data="mnist")
def ac_gan(
    spec: Spec,
    *,
    class_weight: float = 1.0,
    saturating: bool = False,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 100,
) -> Recipe:
    """Auxiliary classifier GAN: D is not told the class but has to tell it, of real and of fake.

    Odena, Olah and Shlens, 2017, arXiv:1610.09585.

    L_S = E log P(S = real | x) + E log P(S = fake | G(c, z))                      (eq. 2)
    L_C = E log P(C = c | x) + E log P(C = c | G(c, z))                            (eq. 3)

    D maximises L_S + L_C, G maximises L_C - L_S. The classes c of fakes are drawn, all as likely;
    they have nothing to do with the labels of the real samples beside them.

    Deviations: one DCGAN instead of a hundred, each of ten classes; no dropout in D; G does not
    saturate unless asked to; points take linear layers.

    Args:
        spec: What the data is.
        class_weight: What multiplies L_C for both players.
        saturating: G minimises log P(S = fake), as the paper writes L_S.
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
        discriminator=usual_critic(spec, outputs=classes, width=width, norm=norm),
        objective=minimax if saturating else non_saturating,
        regularizers=[TellClasses(class_weight), ShowClasses(class_weight)],
        condition=drawn_labels(classes),
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
