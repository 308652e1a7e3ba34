"""GAN-CLS: a discriminator that knows whether picture and caption belong together."""

from __future__ import annotations

from t2i.networks import DcganCaptionGenerator
from training.captions import halving_adam, standardizing
from training.compose import by_caption, by_wrong_caption, compose
from training.networks import caption_critic, for_captions
from training.objectives import non_saturating
from training.recipe import Recipe
from training.registry import Spec, register


@register(learns="captions", section="D", data="birds")
def gan_cls(
    spec: Spec,
    *,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    code_dim: int = 128,
    generator_width: int = 128,
    width: int = 64,
    batch_size: int = 64,
) -> Recipe:
    """GAN-CLS: three kinds of pairs teach the discriminator what a caption says of a picture.

    Reed, Akata, Yan, Logeswaran, Schiele and Lee, 2016, arXiv:1605.05396.

    s_r = D(x, φ(t)),  s_w = D(x, φ(t̂)),  s_f = D(G(z, φ(t)), φ(t))      (algorithm 1, 6 to 8)
    L_D = -log s_r - ½ (log(1 - s_w) + log(1 - s_f))                      (algorithm 1, 9)
    L_G = -log s_f                                                        (algorithm 1, 11)

    x is a real picture, t a caption that is true of it, t̂ one that is not. Section 4.1: the caption
    is compressed to 128 numbers; G puts them beside the noise, D at every place of its last
    features, followed by a 1x1 convolution. Section 5: Adam of 2e-4 with β1 = 0.5, halved every 100
    epochs (here 900 kimg), batches of 64.

    Deviations: this run's caption network gives φ, standardised, instead of a char-CNN-RNN; the
    players are DCGAN's, without the residual blocks of the authors' code; a wrong caption is never
    true of the picture.

    Args:
        spec: What the data is.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        code_dim: Length of the compressed caption.
        generator_width: Channels of G's last hidden layer.
        width: Channels of D's first layer.
        batch_size: Pictures a step over all processes.
    """
    generator = for_captions(
        DcganCaptionGenerator, spec, noise_dim=noise_dim, code_dim=code_dim, width=generator_width
    )
    critic = caption_critic(spec, code_dim=code_dim, width=width)
    return compose(
        generator=generator,
        discriminator=critic,
        objective=non_saturating,
        optimizer=halving_adam(learning_rate),
        condition=by_caption,
        wrong=by_wrong_caption,
        batch_size=batch_size,
        fit=standardizing(generator, critic),
    )
