"""DF-GAN: one stage, the caption fused into every layer."""

from __future__ import annotations

from t2i.networks import FusionCritic, FusionGenerator
from training.captions import standardizing
from training.compose import by_caption, by_wrong_caption, compose
from training.ema import Ema
from training.networks import for_captions
from training.objectives import hinge
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register
from training.regularizers import MatchingAwarePenalty


@register(learns="captions", section="D", data="birds")
def df_gan(
    spec: Spec,
    *,
    penalty: float = 2.0,
    power: float = 6.0,
    penalty_every: int = 1,
    learning_rate: float = 4e-4,
    generator_learning_rate: float = 1e-4,
    noise_dim: int = 100,
    generator_width: int = 32,
    width: int = 32,
    batch_size: int = 32,
) -> Recipe:
    """DF-GAN: a deep fusion of noise and caption, and a flat D around real matching pictures.

    Tao, Tang, Wu, Jing, Bao and Xu, 2022, arXiv:2008.05865.

    L_D = E max(0, 1 - D(x, e)) + ½ E max(0, 1 + D(G(z, e), e)) + ½ E max(0, 1 + D(x, ê))
          + k E (‖∇_x D(x, e)‖ + ‖∇_e D(x, e)‖)^p                         (eq. 1)
    L_G = -E D(G(z, e), e)                                                (eq. 1)

    k = 2, p = 6 (matching-aware gradient penalty). Section 3.2: D says one thing, of picture and
    caption together (one-way output). Section 3.3: in every block two affine transformations, their
    MLPs fed with noise and caption, then a convolution, twice. Section 4: Adam with betas 0 and
    0.9, of 1e-4 for G and 4e-4 for D, batches of 32.

    Deviations: this run's caption network gives e, standardised, instead of DAMSM; a wrong caption
    ê is never true of the picture; both gradients are one vector and G's average
    (0.999 a batch) is served, as in the authors' code; the penalty may be lazy.

    Args:
        spec: What the data is.
        penalty: k.
        power: p.
        penalty_every: Steps of D between two penalties, which then weigh as many times more.
        learning_rate: Of D.
        generator_learning_rate: Of G.
        noise_dim: Length of the noise.
        generator_width: Channels of G's last block; at most 8 times as many further up.
        width: Channels of D's first layer; at most 8 times as many further down.
        batch_size: Pictures a step over all processes.
    """
    generator = for_captions(FusionGenerator, spec, noise_dim=noise_dim, width=generator_width)
    critic = for_captions(FusionCritic, spec, width=width)
    return compose(
        generator=generator,
        discriminator=critic,
        objective=hinge,
        optimizer=Adam(learning_rate, betas=(0.0, 0.9)),
        generator_optimizer=Adam(generator_learning_rate, betas=(0.0, 0.9)),
        regularizers=[MatchingAwarePenalty(penalty, penalty_every, power=power)],
        condition=by_caption,
        wrong=by_wrong_caption,
        batch_size=batch_size,
        ema=Ema(half_life=22.0),
        fit=standardizing(generator, critic),
    )
