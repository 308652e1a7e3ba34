"""LAPGAN: a pyramid of conditional GANs, each of which learns the detail of one side."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from t2i.networks import LaplacianCritic, LaplacianGenerator
from t2i.networks.laplacian import gaussian_pyramid
from training.compose import by_label, unconditional
from training.networks import fits
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register


@register(section="B", data="cifar10")
def lapgan(
    spec: Spec,
    *,
    labels: bool = False,
    levels: int = 2,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    generator_width: int = 64,
    width: int = 64,
    dropout: float = 0.5,
    batch_size: int = 64,
) -> Recipe:
    """Laplacian pyramid GAN: a coarse picture first, then detail upon detail.

    Denton, Chintala, Szlam and Fergus, 2015, arXiv:1506.05751.

    h_k = I_k - u(I_{k+1}), the detail that side k adds                              (eq. 3)
    Ĩ_k = u(Ĩ_{k+1}) + G_k(z_k, u(Ĩ_{k+1}))                                        (eq. 5)

    Section 3.2: a conditional GAN a side, each trained alone: G_k is given l_k = u(I_{k+1}) of a
    real picture and a plane of noise; D_k sees l_k + h_k or l_k + G_k(z_k, l_k). The coarsest side
    is a plain GAN. With labels it is the paper's class-conditional form. Section 4: linear layers
    at the coarsest side, three convolutions in G_k, two in D_k.

    Deviations: all sides train in one run, a batch each; Adam instead of gradient descent with
    momentum; G does not saturate; the noise is normal; u and d are bilinear, d after a blur; leaky
    ReLU in D; D takes the label as a plane a class.

    Args:
        spec: What the data is.
        labels: Draw by label; else by seed alone.
        levels: How often the coarsest side is doubled.
        learning_rate: Of Adam with betas 0.5 and 0.999, for all players.
        noise_dim: Length of the coarsest picture's noise.
        generator_width: Channels of each G_k; the coarsest has 16 times as many units a layer.
        width: Channels of D_k's first layer; the coarsest has 8 times as many units a layer.
        dropout: Probability of dropping a feature of D_k.
        batch_size: Pictures a step over all processes.
    """
    spec.expect("pictures")
    classes = spec.classes() if labels else 0
    condition = by_label(classes) if classes else unconditional
    with fits():
        generator = LaplacianGenerator(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=classes,
            noise_dim=noise_dim,
            levels=levels,
            width=generator_width,
        )
    critic = LaplacianCritic(
        sides=generator.resolutions,
        channels=spec.channels,
        condition_dim=classes,
        width=width,
        dropout=dropout,
    )

    def drawn(networks: Networks, batch: Batch, level: int, player: str) -> tuple[Tensor, Tensor]:
        """Real pictures of this side and what G makes of the next coarser ones."""
        g = cast(LaplacianGenerator, networks["generator"])
        embedding, pyramid = condition(batch), gaussian_pyramid(batch.pictures, levels)
        noise = batch.noise.normal(f"{player}/{level}", g.parts[level])
        return pyramid[level], g.drawn_above(pyramid, level, embedding, noise)

    def phases(level: int) -> tuple[Phase, Phase]:
        side = generator.resolutions[level]

        def critic_loss(networks: Networks, batch: Batch) -> Losses:
            with torch.no_grad():
                pair = drawn(networks, batch, level, "D")
            judge = cast(LaplacianCritic, networks["discriminator"])
            logits = [judge(level, pictures, condition(batch)).logits for pictures in pair]
            loss = non_saturating.discriminator_loss(*logits)
            return Losses(loss, {f"D/adversarial-{side}": loss.detach()})

        def generator_loss(networks: Networks, batch: Batch) -> Losses:
            _, fake = drawn(networks, batch, level, "G")
            judge = cast(LaplacianCritic, networks["discriminator"])
            loss = non_saturating.generator_loss(judge(level, fake, condition(batch)).logits)
            return Losses(loss, {f"G/adversarial-{side}": loss.detach()})

        # Other levels have no gradient here, so they do not move.
        adam = Adam(learning_rate, betas=(0.5, 0.999))
        return (
            Phase("discriminator", adam, critic_loss, name=f"discriminator-{side}"),
            Phase("generator", adam, generator_loss, name=f"generator-{side}"),
        )

    return Recipe(
        key="",
        networks={"generator": generator, "discriminator": critic},
        phases=tuple(phase for level in range(levels + 1) for phase in phases(level)),
        batch_size=batch_size,
        ema=None,
    )
