"""SAGAN: self-attention in both players."""

from __future__ import annotations

from training.compose import compose
from training.networks import ladder_critic, ladder_generator
from training.objectives import hinge
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="B", data="cifar10")
def sagan(
    spec: Spec,
    *,
    labels: bool = True,
    attention: int = 4,
    n_dis: int = 1,
    generator_lr: float = 1e-4,
    discriminator_lr: float = 4e-4,
    noise_dim: int = 128,
    generator_width: int = 64,
    width: int = 64,
    batch_size: int = 64,
) -> Recipe:
    """Self-attention GAN: features of far places tell each other what they are part of.

    Zhang, Goodfellow, Metaxas and Odena, 2019, arXiv:1805.08318.

    y_i = γ·o_i + x_i with γ from 0; o gathers all places by attention         (eq. 1 to 3)
    L_D = E max(0, 1 - D(x, y)) + E max(0, 1 + D(G(z), y)),  L_G = -E D(G(z), y)   (eq. 4)

    Section 4: spectral normalisation in both players; one D step a G step at two time scales, 1e-4
    for G and 4e-4 for D, Adam with betas 0 and 0.9. G's BatchNorm follows the label and D takes it
    by projection (section 5). At 128 pixels attention at a side of 32 did best (table 1).

    Deviations: pictures may be drawn without labels; at other sides than 128 there are fewer blocks
    of the same kind; a batch of 64.

    Args:
        spec: What the data is.
        labels: Draw by label; else by seed alone.
        attention: The picture's side over that of the features that attend; 0 leaves it out.
        n_dis: Discriminator steps a generator step.
        generator_lr: Learning rate of G.
        discriminator_lr: Learning rate of D.
        noise_dim: Length of the noise.
        generator_width: Channels of G's last block; they double as the side halves.
        width: Channels of D's first block.
        batch_size: Pictures a step over all processes.
    """
    spec.expect("pictures")
    classes = spec.classes() if labels else 0
    return compose(
        generator=ladder_generator(
            spec,
            condition_dim=classes,
            noise_dim=noise_dim,
            width=generator_width,
            attention=attention,
        ),
        discriminator=ladder_critic(spec, condition_dim=classes, width=width, attention=attention),
        objective=hinge,
        optimizer=Adam(discriminator_lr, betas=(0.0, 0.9)),
        generator_optimizer=Adam(generator_lr, betas=(0.0, 0.9)),
        n_dis=n_dis,
        batch_size=batch_size,
    )
