"""GAN Dissection: a generator to take apart; `training.dissection` does it."""

from __future__ import annotations

import dataclasses

from training.recipe import Recipe
from training.registry import Spec, register
from training.zoo.dcgan import dcgan


@register(section="B", data="birds:20000")
def gan_dissection(
    spec: Spec,
    *,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    generator_width: int = 32,
    width: int = 32,
    batch_size: int = 64,
) -> Recipe:
    """GAN dissection: find the units that draw a thing, and switch them off or on.

    Bau, Zhu, Strobelt, Zhou, Tenenbaum, Freeman and Torralba, 2019, arXiv:1811.10597.

    IoU of u and c = E |both r_u > t and s_c(x)| / E |either|, r_u enlarged        (3.1)
    δ of U on c = E s_c(x with U on) - E s_c(x with U off)                        (3.2)

    An analysis of a trained generator. t is the threshold of the highest information quality
    ratio on other pictures. Units are switched off everywhere, or on at chosen places. This
    recipe trains what is dissected; the functions of `training.dissection` take any generator, and
    `t2i-train reproduce gan-dissection` runs the whole.

    Deviations: the generator is DCGAN's, trained on illustrated birds in minutes, where the paper
    takes ProGAN on LSUN; parts of birds are told by a network that learned them from the renderer;
    sets of units are chosen by their IoU, without optimising the paper's α.

    Args:
        spec: What the data is.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        generator_width: Channels of G's last hidden layer.
        width: Channels of D's first layer.
        batch_size: Pictures a step over all processes.
    """
    recipe = dcgan(
        spec,
        learning_rate=learning_rate,
        noise_dim=noise_dim,
        generator_width=generator_width,
        width=width,
        batch_size=batch_size,
    )
    return dataclasses.replace(recipe, key="")
