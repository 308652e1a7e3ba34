"""GRAN: a recurrent generator whose drawings add up on a canvas."""

from __future__ import annotations

from t2i.networks import RecurrentGenerator
from training.compose import compose
from training.networks import fits, usual_critic
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="B", data="mnist")
def gran(
    spec: Spec,
    *,
    steps: int = 3,
    learning_rate: float = 2e-4,
    noise_dim: int = 60,
    hidden_dim: int = 100,
    generator_width: int = 64,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 100,
) -> Recipe:
    """Generative recurrent adversarial network: look at what is drawn, and draw on.

    Im, Kim, Jiang and Memisevic, 2016, arXiv:1602.05110.

    h_z = tanh(W z + b),  h_c,t = g(C_{t-1}),  C_t = f([h_z, h_c,t]),  picture = σ(Σ_t C_t)
    where h_c is zero at first                                                   (section 3.1)

    One z for all steps; f and g are those of DCGAN's generator and discriminator and do not change
    from step to step. It is trained like the first GAN, against DCGAN's discriminator, with a loss
    of G that does not saturate. One step is DCGAN with a hidden layer before it; the paper takes 1,
    3 and 5. All this is so in the authors' code, too.

    Deviations: pictures lie in [-1, 1], so the sum goes through tanh (σ of twice the sum, in those
    units); no BatchNorm in h_z and at the end of g, and no weight decay. The authors' code makes
    noise and hidden state equally long (100 on CIFAR-10) and takes Adam at 1e-4 for G and 4e-5 for
    D; the lengths and the rate here are this file's own.

    Args:
        spec: What the data is.
        steps: How often G draws, T.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        hidden_dim: Length of h_z and h_c.
        generator_width: Channels of f's last hidden layer and g's first.
        width: Channels of D's first layer.
        norm: BatchNorm in both players.
        batch_size: Pictures a step over all processes.
    """
    spec.expect("pictures")
    with fits():
        generator = RecurrentGenerator(
            resolution=spec.resolution,
            channels=spec.channels,
            noise_dim=noise_dim,
            hidden_dim=hidden_dim,
            width=generator_width,
            steps=steps,
            norm=norm,
        )
    return compose(
        generator=generator,
        discriminator=usual_critic(spec, width=width, norm=norm),
        objective=non_saturating,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
