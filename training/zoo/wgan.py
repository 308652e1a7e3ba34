"""WGAN: a critic that estimates the Wasserstein distance."""

from __future__ import annotations

from training.compose import compose
from training.networks import usual_critic, usual_generator
from training.objectives import wasserstein
from training.optimizers import RMSProp
from training.recipe import Recipe
from training.registry import Spec, register
from training.regularizers import clip_weights


@register(section="A", data="gaussians")
def wgan(
    spec: Spec,
    *,
    clip: float = 0.01,
    n_dis: int = 5,
    learning_rate: float = 5e-5,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Wasserstein GAN: a critic with clipped weights estimates how far the distributions are.

    Arjovsky, Chintala and Bottou, 2017, arXiv:1701.07875.

    W(P_r, P_θ) = sup_{‖f‖_L ≤ 1} E f(x) - E f(G(z))                               (eq. 2)

    Algorithm 1: n_dis ascent steps on E f(x) - E f(G(z)), after each of which every weight of f is
    clipped to [-c, c]; then one descent step of G on -E f(G(z)). RMSProp, since momentum makes the
    critic unstable (section 4). f has no sigmoid. `-D/adversarial` is the estimate, up to the
    Lipschitz constant that c allows.

    Deviations: points take linear layers; the noise is normal.

    Args:
        spec: What the data is.
        clip: The paper's c.
        n_dis: Critic steps a generator step.
        learning_rate: Of both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players, as in DCGAN; points have none.
        batch_size: Samples a step over all processes.
    """
    return compose(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_critic(spec, width=width, norm=norm),
        objective=wasserstein,
        optimizer=RMSProp(learning_rate),
        n_dis=n_dis,
        after=clip_weights(clip),
        batch_size=batch_size,
    )
