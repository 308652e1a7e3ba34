"""SNGAN: spectral normalisation, and the projection discriminator for labels."""

from __future__ import annotations

from training.compose import compose
from training.networks import residual_critic, residual_generator
from training.objectives import hinge
from training.optimizers import Adam, linear_decay
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="B", data="cifar10")
def sngan(
    spec: Spec,
    *,
    labels: bool = False,
    n_dis: int = 5,
    learning_rate: float = 2e-4,
    decay_kimg: float = 0.0,
    noise_dim: int = 128,
    generator_width: int = 256,
    width: int = 128,
    batch_size: int = 64,
) -> Recipe:
    """Spectral normalisation: every layer of the critic has a Lipschitz constant of one.

    Miyato, Kataoka, Koyama and Yoshida, 2018, arXiv:1802.05957; labels by Miyato and Koyama, 2018,
    arXiv:1802.05637.

    W_SN = W / σ(W), σ by one step of the power iteration a forward pass    (eq. 8, algorithm 1)
    L_D = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))),  L_G = -E D(G(z))        (eq. 16 and 17)
    D(x, y) = yᵀ V φ(x) + ψ(φ(x)), and G's BatchNorm follows y          (1802.05637, eq. 3)

    Residual networks of table 4. Adam(2e-4; 0, 0.9), five critic steps: section 4.1.

    Deviations: the decay to zero is off unless asked for.

    Args:
        spec: What the data is.
        labels: Draw by label, with the projection discriminator.
        n_dis: Critic steps a generator step.
        learning_rate: Of Adam with betas 0 and 0.9, for both players.
        decay_kimg: Kimg at which the learning rate has fallen to zero; 0 keeps it.
        noise_dim: Length of the noise.
        generator_width: Channels of G's blocks.
        width: Channels of D's blocks.
        batch_size: Pictures a step over all processes.
    """
    classes = spec.classes() if labels else 0
    schedule = linear_decay(0.0, decay_kimg) if decay_kimg else None
    return compose(
        generator=residual_generator(
            spec, condition_dim=classes, noise_dim=noise_dim, width=generator_width
        ),
        discriminator=residual_critic(spec, condition_dim=classes, width=width, norm="spectral"),
        objective=hinge,
        optimizer=Adam(learning_rate, betas=(0.0, 0.9), schedule=schedule),
        n_dis=n_dis,
        batch_size=batch_size,
    )
