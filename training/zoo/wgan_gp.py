"""WGAN-GP: a penalty instead of clipped weights."""

from __future__ import annotations

from training.compose import compose
from training.networks import residual_critic, residual_generator, usual_critic, usual_generator
from training.objectives import wasserstein
from training.optimizers import Adam, linear_decay
from training.recipe import Recipe
from training.registry import Spec, register
from training.regularizers import GradientPenalty


@register(section="A", data="grid25")
def wgan_gp(
    spec: Spec,
    *,
    penalty: float = 10.0,
    n_dis: int = 5,
    learning_rate: float = 1e-4,
    decay_kimg: float = 0.0,
    noise_dim: int = 128,
    width: int = 128,
    residual: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Improved training of Wasserstein GANs: a penalty on the critic's gradient.

    Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, 2017, arXiv:1704.00028.

    L_D = E D(G(z)) - E D(x) + λ E (‖∇_x̂ D(x̂)‖ - 1)²                            (eq. 3)
    L_G = -E D(G(z)),  x̂ = ε x + (1 - ε) G(z), one ε ~ U[0, 1] a sample   (algorithm 1)

    The critic has no BatchNorm (section 4), which would tie the samples of a batch together.

    Deviations: points take linear layers, pictures with `residual` off DCGAN's; pictures otherwise
    the residual networks of appendix F. The decay to zero of appendix F is off unless asked for.

    Args:
        spec: What the data is.
        penalty: λ.
        n_dis: Critic steps a generator step.
        learning_rate: Of Adam with betas 0 and 0.9, for both players.
        decay_kimg: Kimg at which the learning rate has fallen to zero; 0 keeps it.
        noise_dim: Length of the noise.
        width: Channels of every block.
        residual: Pictures take residual networks.
        batch_size: Samples a step over all processes.
    """
    generator = usual_generator(spec, noise_dim=noise_dim, width=width)
    discriminator = usual_critic(spec, width=width, norm=False)
    if residual and spec.kind == "pictures":
        generator = residual_generator(spec, noise_dim=noise_dim, width=width)
        discriminator = residual_critic(spec, width=width, pooling="mean")
    schedule = linear_decay(0.0, decay_kimg) if decay_kimg else None
    return compose(
        generator=generator,
        discriminator=discriminator,
        objective=wasserstein,
        regularizers=[GradientPenalty(penalty)],
        optimizer=Adam(learning_rate, betas=(0.0, 0.9), schedule=schedule),
        n_dis=n_dis,
        batch_size=batch_size,
    )
