"""StackGAN: a sketch of the caption first, then a picture drawn over the sketch."""

from __future__ import annotations

from t2i.networks import CaptionCritic, StackGenerator
from t2i.networks.stack import FirstStage
from training.captions import ConditioningKL, halving_adam, standardizing
from training.compose import by_caption, by_wrong_caption, compose
from training.networks import caption_critic, for_captions
from training.objectives import non_saturating
from training.recipe import Recipe
from training.registry import Spec, register
from training.stages import shown_at, stage


@register(learns="captions", section="D", data="birds")
def stackgan(
    spec: Spec,
    *,
    stage_kimg: float = 200.0,
    factor: int = 4,
    kl_weight: float = 2.0,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    conditioning_dim: int = 128,
    generator_width: int = 128,
    width: int = 64,
    batch_size: int = 64,
) -> Recipe:
    """StackGAN: Stage-I draws shape and colours, Stage-II, upon a frozen Stage-I, the detail.

    Zhang, Xu, Li, Zhang, Wang, Huang and Metaxas, 2017, arXiv:1612.03242.

    ĉ = μ(φ) + σ(φ) ⊙ ε,  ε ~ N(0, I)                               (section 3.2)
    L_D0 = -E log D0(I0, φ) - E log(1 - D0(G0(z, ĉ0), φ))                    (eq. 3)
    L_G0 = -E log D0(G0(z, ĉ0), φ) + λ KL(N(μ0, σ0²) ‖ N(0, I))             (eq. 4)
    L_D = -E log D(I, φ) - E log(1 - D(G(s0, ĉ), φ))                         (eq. 5)
    L_G = -E log D(G(s0, ĉ), φ) + λ KL(N(μ, σ²) ‖ N(0, I))                  (eq. 6)

    s0 = G0(z, ĉ0). Both D are matching-aware, as in gan-cls. Stage-I learns first, then Stage-II
    with Stage-I frozen. Section 3.5: Adam of 2e-4, halved every 100 epochs, batches of 64.

    Deviations: those of gan-cls; stages by kimg instead of 600 epochs each; λ = 2 on the mean over
    dimensions, as in the authors' code (λ = 1 in the paper); G does not saturate; μ and σ have a
    hidden layer, and log σ is bounded; Stage-I is frozen with its BatchNorm's statistics.

    Args:
        spec: What the data is.
        stage_kimg: Kimg in which Stage-I learns; Stage-II learns after that.
        factor: Side of the pictures over that of Stage-I's.
        kl_weight: λ.
        learning_rate: Of Adam with betas 0.5 and 0.999; each stage begins with it.
        noise_dim: Length of the noise.
        conditioning_dim: Length of each stage's conditioning.
        generator_width: Channels of Stage-II's first layer, of Stage-I before its last doubling.
        width: Channels of each discriminator's first layer.
        batch_size: Pictures a step over all processes.
    """
    sizes = {"noise_dim": noise_dim, "conditioning_dim": conditioning_dim}
    generator = for_captions(StackGenerator, spec, factor=factor, width=generator_width, **sizes)
    sides = generator.resolutions
    coarse, fine = (caption_critic(spec, resolution=side, width=width) for side in sides)

    def alone(drawer: FirstStage | StackGenerator, critic: CaptionCritic, start: float) -> Recipe:
        return compose(
            generator=drawer,
            discriminator=critic,
            objective=non_saturating,
            optimizer=halving_adam(learning_rate, start),
            regularizers=[ConditioningKL(kl_weight)],
            condition=by_caption,
            wrong=by_wrong_caption,
            shown=shown_at(drawer.resolutions[-1]),
        )

    sketch = stage(
        alone(generator.first, coarse, 0.0),
        "1",
        parts={"generator": "generator.first", "discriminator": "discriminator-1"},
        active=lambda kimg: kimg < stage_kimg,
    )
    detail = stage(alone(generator, fine, stage_kimg), "2", active=lambda kimg: kimg >= stage_kimg)
    return Recipe(
        key="",
        networks={"generator": generator, "discriminator-1": coarse, "discriminator": fine},
        phases=(*sketch, *detail),
        batch_size=batch_size,
        ema=None,
        fit=standardizing(generator, coarse, fine),
    )
