"""DCGAN: convolutions that train."""

from __future__ import annotations

from training.compose import compose
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="B", data="mnist")
def dcgan(
    spec: Spec,
    *,
    learning_rate: float = 2e-4,
    beta1: float = 0.5,
    noise_dim: int = 100,
    generator_width: int = 128,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 128,
) -> Recipe:
    """Deep convolutional GAN: the guidelines by which convolutional players hold each other.

    Radford, Metz and Chintala, 2016, arXiv:1511.06434.

    Section 3: strided convolutions in D and fractionally strided ones in G instead of pooling;
    BatchNorm in both, but not at G's output and D's input; no hidden linear layers; ReLU in G with
    tanh at its output; leaky ReLU of slope 0.2 in D. Section 4: Adam of 2e-4 with β1 = 0.5, batches
    of 128, weights from N(0, 0.02). The objective is the first GAN's, G not saturating.

    Deviations: 4x4 kernels instead of 5x5, which a stride of 2 covers evenly; the noise is normal,
    not uniform; at other sides than 64 pixels fewer layers of the same kind.

    Args:
        spec: What the data is.
        learning_rate: Of Adam, for both players.
        beta1: Adam's decay of the first moment.
        noise_dim: Length of the noise.
        generator_width: Channels of G's last hidden layer; at 64 pixels the first has 1024.
        width: Channels of D's first layer.
        norm: BatchNorm in both players; off to see what it is worth.
        batch_size: Pictures a step over all processes.
    """
    spec.expect("pictures")
    return compose(
        generator=usual_generator(spec, noise_dim=noise_dim, width=generator_width, norm=norm),
        discriminator=usual_critic(spec, width=width, norm=norm),
        objective=non_saturating,
        optimizer=Adam(learning_rate, betas=(beta1, 0.999)),
        batch_size=batch_size,
    )
