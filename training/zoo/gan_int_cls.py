"""GAN-INT-CLS: captions between captions, and an encoder of what no caption says."""

from __future__ import annotations

from dataclasses import replace

from t2i.networks import DcganCaptionGenerator
from training.captions import InterpolatedCaptions, halving_adam, standardizing
from training.classes import class_logits_of
from training.compose import by_caption, by_wrong_caption, compose, draw
from training.networks import caption_critic, for_captions, usual_critic
from training.objectives import non_saturating
from training.recipe import Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register


@register(learns="captions", section="D", data="birds")
def gan_int_cls(
    spec: Spec,
    *,
    share: float = 0.5,
    interpolation_weight: float = 1.0,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    code_dim: int = 128,
    generator_width: int = 128,
    width: int = 64,
    batch_size: int = 64,
) -> Recipe:
    """GAN-INT-CLS: the space between captions is drawn too, and style is told from content.

    Reed, Akata, Yan, Logeswaran, Schiele and Lee, 2016, arXiv:1605.05396.

    L_G = -log D(G(z, t), t) - E_{t1,t2} log D(G(z, t_β), t_β),  t_β = β t1 + (1 - β) t2   (eq. 5)
    L_S = E ‖z - S(G(z, φ(t)))‖²                                                    (eq. 6)
    s = S(x),  x̂ = G(s, φ(t)): the style of x, the content of t              (section 4.4)

    The discriminator is that of GAN-CLS and never sees t_β with a real picture. β is 0.5.

    Deviations: those of gan-cls; t2 is the caption of the batch's next picture; S learns beside the
    players instead of after them, and has D's convolutions.

    Args:
        spec: What the data is.
        share: β.
        interpolation_weight: Weight of the captions between captions.
        learning_rate: Of Adam with betas 0.5 and 0.999, for all networks.
        noise_dim: Length of the noise, and so of a style.
        code_dim: Length of the compressed caption.
        generator_width: Channels of G's last hidden layer.
        width: Channels of the first layer of D and of S.
        batch_size: Pictures a step over all processes.
    """
    adam = halving_adam(learning_rate)
    generator = for_captions(
        DcganCaptionGenerator, spec, noise_dim=noise_dim, code_dim=code_dim, width=generator_width
    )
    critic = caption_critic(spec, code_dim=code_dim, width=width)
    recipe = compose(
        generator=generator,
        discriminator=critic,
        objective=non_saturating,
        optimizer=adam,
        regularizers=[InterpolatedCaptions(interpolation_weight, share=share)],
        condition=by_caption,
        wrong=by_wrong_caption,
        batch_size=batch_size,
        fit=standardizing(generator, critic),
    )

    def style_loss(networks: Networks, batch: Batch) -> Losses:
        drawn = draw(networks, batch, "style", batch.right).detach()
        apart = class_logits_of(networks["style"], drawn) - batch.noise.normal("style", noise_dim)
        loss = apart.square().sum(dim=1).mean()
        return Losses(loss, {"S/style": loss.detach()})

    style = usual_critic(spec, outputs=noise_dim, width=width)
    return replace(
        recipe,
        networks={**recipe.networks, "style": style},
        phases=(*recipe.phases, Phase("style", adam, style_loss)),
        joins_late=True,
    )
