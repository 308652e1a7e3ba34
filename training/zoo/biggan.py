"""BigGAN: labels through one embedding, noise at every block, and room for truncation."""

from __future__ import annotations

import math

from training.compose import compose
from training.ema import Ema
from training.networks import ladder_critic, ladder_generator
from training.objectives import hinge
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register
from training.regularizers import Orthogonal


@register(section="B", data="cifar10")
def biggan(
    spec: Spec,
    *,
    attention: int = 2,
    orthogonal_weight: float = 1e-4,
    n_dis: int = 2,
    generator_lr: float = 5e-5,
    discriminator_lr: float = 2e-4,
    ema_decay: float = 0.9999,
    noise_dim: int = 120,
    shared_dim: int = 128,
    generator_width: int = 96,
    width: int = 96,
    batch_size: int = 64,
) -> Recipe:
    """Large scale GAN training: wide networks in large batches, steered by how far the noise goes.

    Brock, Donahue and Simonyan, 2019, arXiv:1809.11096.

    L_D, L_G: the hinge loss; L_G + β‖WᵀW ⊙ (1 - I)‖² over G's weights, β = 1e-4       (eq. 3)

    Section 3: SAGAN's networks; one embedding of the label shared by all of G's BatchNorms; the
    noise in equal parts, one to the start and one to each block's BatchNorms; spectral
    normalisation, first weights orthogonal; two D steps a G step, Adam with betas 0 and 0.999; the
    served weights are an average of decay 0.9999. Asked with truncation below 1, noise of lesser
    spread trades variety for fidelity (section 3.1).

    Deviations: truncation scales the noise instead of redrawing what lies outside a range, so that
    a seed keeps its picture's kind; a batch of 64 (the paper: 2048); at other sides than 128 fewer
    blocks of the same kind; statistics of BatchNorm are running means; the average starts at once
    and remembers at most a twentieth of the run.

    Args:
        spec: What the data is.
        attention: The picture's side over that of the features that attend; 0 leaves it out.
        orthogonal_weight: β of the orthogonal term.
        n_dis: Discriminator steps a generator step.
        generator_lr: Learning rate of G.
        discriminator_lr: Learning rate of D.
        ema_decay: Weight of the old average in a G step.
        noise_dim: Length of the noise.
        shared_dim: Length of the label's embedding.
        generator_width: Channels of G's last block; they double as the side halves.
        width: Channels of D's first block.
        batch_size: Pictures a step over all processes.
    """
    spec.expect("pictures")
    classes = spec.classes()
    # Steps until half of the average is new, in pictures shown.
    half_life = math.log(0.5) / math.log(ema_decay) * n_dis * batch_size / 1000.0
    return compose(
        generator=ladder_generator(
            spec,
            condition_dim=classes,
            noise_dim=noise_dim,
            width=generator_width,
            attention=attention,
            shared_dim=shared_dim,
            hierarchical=True,
            orthogonal=True,
        ),
        discriminator=ladder_critic(
            spec, condition_dim=classes, width=width, attention=attention, orthogonal=True
        ),
        objective=hinge,
        optimizer=Adam(discriminator_lr, betas=(0.0, 0.999)),
        generator_optimizer=Adam(generator_lr, betas=(0.0, 0.999)),
        n_dis=n_dis,
        regularizers=[Orthogonal(orthogonal_weight)],
        batch_size=batch_size,
        ema=Ema(half_life),
    )
