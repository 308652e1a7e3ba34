"""GoGAN: Wasserstein GANs in stages, each ranked above the one before."""

from __future__ import annotations

from training.compose import compose
from training.errors import TrainingError
from training.networks import usual_critic, usual_generator
from training.objectives import Margin
from training.optimizers import RMSProp
from training.ranking import Rank, follow_stages
from training.recipe import Networks, Recipe, Update
from training.registry import Spec, register
from training.regularizers import clip_weights


@register(section="A", data="mnist")
def gogan(
    spec: Spec,
    *,
    stages: int = 3,
    stage_kimg: float = 20.0,
    margin: float = 1.0,
    ranking: float = 0.5,
    clip: float = 0.01,
    n_dis: int = 5,
    learning_rate: float = 5e-5,
    noise_dim: int = 100,
    width: int = 64,
    batch_size: int = 64,
) -> Recipe:
    """Gang of GANs: a margin for the critic, and stages that rank above one another.

    Juefei-Xu, Boddeti and Savvides, 2017, arXiv:1704.04865.

    L_D = E max(0, D_i(G_i(z)) + ε - D_i(x)),   L_G = -E D_i(G_i(z))       (margin WGAN)
    L_rank = E max(0, D_{i-1}(G_{i-1}(z)) + 2ε - D_i(x))                   (from stage 2 on)

    D_i minimises L_D + λ L_rank; stage i starts as a copy of i - 1. Clipping, RMSProp: as in WGAN.

    Deviations: points take linear layers, pictures DCGAN's networks; the noise is normal. The two
    losses are as remembered from the paper and agree with an independent implementation, whose ε 1
    and λ 1/2 are the defaults; the paper's own values could not be compared. The stage before is
    frozen while the next one learns; that implementation lets it go on learning.

    Args:
        spec: What the data is.
        stages: Number of stages; 1 is WGAN with a margin.
        stage_kimg: Length of each stage in kimg; the last takes what is left of the run.
        margin: ε.
        ranking: Weight λ of L_rank.
        clip: Largest absolute weight of the critic.
        n_dis: Critic steps a generator step.
        learning_rate: Of RMSProp, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        batch_size: Samples a step over all processes.
    """
    if stages < 1 or stage_kimg <= 0.0:
        raise TrainingError(f"stages: are {stages} of {stage_kimg} kimg; give 1 or more above 0")
    generator = usual_generator(spec, noise_dim=noise_dim, width=width)
    critic = usual_critic(spec, width=width)

    def after(networks: Networks, update: Update) -> None:
        clip_weights(clip)(networks, update)
        follow_stages(stages, stage_kimg)(networks, update)

    return compose(
        generator=generator,
        discriminator=critic,
        objective=Margin(margin),
        regularizers=[Rank(ranking, margin=margin, players=(generator, critic))],
        optimizer=RMSProp(learning_rate),
        after=after,
        n_dis=n_dis,
        batch_size=batch_size,
    )
