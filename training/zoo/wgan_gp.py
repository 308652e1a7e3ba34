"""WGAN-GP: a penalty instead of clipped weights."""

from __future__ import annotations

from training.architectures import players_of
from training.compose import compose, shown_one_hot
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
    beta1: float = 0.0,
    decay_kimg: float = 0.0,
    noise_dim: int = 128,
    width: int = 128,
    architecture: str = "residual",
    batch_size: int = 64,
) -> Recipe:
    """Improved training of Wasserstein GANs: a penalty on the critic's gradient.

    Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, 2017, arXiv:1704.00028.

    L_D = E D(G(z)) - E D(x) + λ E (‖∇_x̂ D(x̂)‖ - 1)²                            (eq. 3)
    L_G = -E D(G(z)),  x̂ = ε x + (1 - ε) G(z), one ε ~ U[0, 1] a sample   (algorithm 1)

    The critic has no BatchNorm (section 4), which would tie the samples of a batch together; layer
    normalisation takes its place where the architecture has a norm.

    One setting is to train DCGAN and six departures from it (section 5.2), each an `architecture`:
    G without norm and of `constant` width, G an `mlp` of four layers, no norm anywhere (`bare`),
    `gated` units, `tanh` units, and 101 layers (`deep`). `residual` is that of appendix F.

    Texts of characters are drawn as chances of each place's character, against one-hot real ones
    (section 5.5): `--data characters`. The authors' code takes width 512, beta1 1/2, 10 steps of D.

    Deviations: points take linear layers. DCGAN's convolutions are 4 wide, the deep critic halves
    by averages. The decay to zero of appendix F is off unless asked for. The texts are Python's
    help pages, not the Billion Word corpus.

    Args:
        spec: What the data is.
        penalty: λ.
        n_dis: Critic steps a generator step.
        learning_rate: Of Adam with a second beta of 0.9, for both players.
        beta1: Its first beta.
        decay_kimg: Kimg at which the learning rate has fallen to zero; 0 keeps it.
        noise_dim: Length of the noise.
        width: Channels of every block, or of the outer layer of DCGAN.
        architecture: Of pictures: residual, dcgan, constant, mlp, bare, gated, tanh or deep.
        batch_size: Samples a step over all processes.
    """
    generator, critic = players_of(architecture, spec, noise_dim=noise_dim, width=width)
    shown = shown_one_hot(spec.vocabulary) if spec.kind == "tokens" else None
    schedule = linear_decay(0.0, decay_kimg) if decay_kimg else None
    return compose(
        generator=generator,
        discriminator=critic,
        objective=wasserstein,
        regularizers=[GradientPenalty(penalty)],
        optimizer=Adam(learning_rate, betas=(beta1, 0.9), schedule=schedule),
        n_dis=n_dis,
        shown=shown,
        batch_size=batch_size,
    )
