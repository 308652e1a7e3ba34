"""StackGAN-v2: a tree of generators, all scales at once."""

from __future__ import annotations

from typing import cast

import torch

from t2i.networks import TreeGenerator
from training.captions import drawn_for_captions, drawn_gaussian, standardizing
from training.compose import two_players
from training.ema import Ema
from training.networks import for_captions
from training.objectives import colour_consistency, conditioning_kl, non_saturating
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register
from training.scales import joint_discriminator_loss, joint_generator_loss, scale_critics


@register(learns="captions", section="D", data="birds")
def stackgan_v2(
    spec: Spec,
    *,
    scales: int = 3,
    kl_weight: float = 2.0,
    colour_weight: float = 0.0,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    conditioning_dim: int = 128,
    generator_width: int = 64,
    width: int = 64,
    batch_size: int = 24,
) -> Recipe:
    """StackGAN-v2: every scale is judged with its caption and without, all scales learn together.

    Zhang, Xu, Li, Zhang, Wang, Huang and Metaxas, 2018, arXiv:1710.10916.

    h_0 = F_0(c, z),  h_i = F_i(h_{i-1}, c),  s_i = G_i(h_i)               (section 4.1)
    L_Di = -E log D_i(x_i) - E log(1 - D_i(s_i))
           - E log D_i(x_i, c) - E log(1 - D_i(x_i, ĉ)) - E log(1 - D_i(s_i, c))  (section 4.2)
    L_Gi = -E log D_i(s_i) - E log D_i(s_i, c),   L_G = Σ_i L_Gi + λ KL      (section 4.2)
    L_Ci = ‖μ(s_i) - μ(s_{i-1})‖² + 5 ‖Σ(s_i) - Σ(s_{i-1})‖²,  α Σ_i L_Ci to L_G  (section 4.3)

    c is drawn around the caption as in stackgan; D is shown its mean, ĉ is a wrong caption's. α is
    0 with captions, which hold the scales together. Adam of 2e-4 with β1 = 0.5, batches of 24.

    Deviations: captions as in gan-cls, Gaussian and λ as in stackgan; real pictures count once
    without a caption, where the authors' code counts those of wrong captions again; G's average
    (0.999 a batch) is from their code.

    Args:
        spec: What the data is.
        scales: Number of scales, each of half the side of the next.
        kl_weight: λ.
        colour_weight: α.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        conditioning_dim: Length of the conditioning.
        generator_width: Channels of the coarsest picture's features.
        width: Channels of each discriminator's first layer.
        batch_size: Pictures a step over all processes.
    """
    sizes = {"noise_dim": noise_dim, "conditioning_dim": conditioning_dim}
    generator = for_captions(TreeGenerator, spec, scales=scales, width=generator_width, **sizes)
    sides = generator.resolutions
    critics = scale_critics(spec, sides, condition_dim=conditioning_dim, width=width)

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            tree = cast(TreeGenerator, networks["generator"])
            fakes = drawn_for_captions(networks, batch, "discriminator")
            right, wrong = tree.mean(batch.right), tree.mean(batch.wrong)
        joint = joint_discriminator_loss(
            networks, non_saturating, batch.pictures, fakes.pictures, right, wrong
        )
        return joint.losses("D")

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        fakes = drawn_for_captions(networks, batch, "generator")
        mu, log_sigma = drawn_gaussian(fakes)
        joint = joint_generator_loss(networks, non_saturating, fakes.pictures, mu)
        kl, colour = conditioning_kl(mu, log_sigma), mu.new_zeros(())
        for fine, coarse in zip(fakes.pictures[1:], fakes.pictures, strict=False):
            colour = colour + colour_consistency(fine, coarse)
        return joint.losses("G", kl=(kl_weight, kl), colour=(colour_weight, colour))

    return two_players(
        generator=generator,
        discriminator=critics,
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
        ema=Ema(half_life=16.6),
        fit=standardizing(generator),
    )
