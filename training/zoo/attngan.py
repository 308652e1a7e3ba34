"""AttnGAN: finer scales look at the words of the caption."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from t2i.networks import AttentionGenerator
from t2i.networks.settled import settled
from t2i.networks.words import unpack
from training.captions import drawn_for_captions, drawn_gaussian, standardizing
from training.compose import two_players
from training.damsm import Damsm
from training.ema import Ema
from training.networks import for_captions
from training.objectives import conditioning_kl, non_saturating
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register
from training.scales import joint_discriminator_loss, joint_generator_loss, scale_critics


@register(learns="captions", needs=("words",), section="D", data="birds")
def attngan(
    spec: Spec,
    *,
    scales: int = 3,
    damsm_weight: float = 5.0,
    damsm_kimg: float = 100.0,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    conditioning_dim: int = 100,
    generator_width: int = 64,
    width: int = 64,
    batch_size: int = 24,
) -> Recipe:
    """AttnGAN: every place of a finer scale gathers the words that matter there.

    Xu, Zhang, Huang, Zhang, Gan, Huang and He, 2018, arXiv:1711.10485.

    h_0 = F_0(z, F_ca(ē)),  h_i = F_i(h_{i-1}, F_attn(e, h_{i-1})),  x̂_i = G_i(h_i)      (eq. 1)
    L_Gi = -½ E log D_i(x̂_i) - ½ E log D_i(x̂_i, ē),   L = Σ_i L_Gi + λ L_DAMSM   (eq. 3 and 4)
    L_Di = ½ (-E log D_i(x_i) - E log(1 - D_i(x̂_i)))
           + ½ (-E log D_i(x_i, ē) - E log(1 - D_i(x̂_i, ē)) - E log(1 - D_i(x_i, ê)))    (eq. 5)
    L_DAMSM = L_1w + L_2w + L_1s + L_2s                                          (eq. 14)

    e are the words, ē the sentence, ê a wrong one. DAMSM learns first, from real pictures, and is
    frozen: it tells G how well words and picture find each other. λ is 5 for birds.

    Deviations: words are the frozen text encoder's token states, ē this run's caption network;
    DAMSM's picture network is small and learns here (2e-3, not clipped); wrong captions as in the
    authors' code, and G's average and the divergence of F_ca (weight 1) too.

    Args:
        spec: What the data is.
        scales: Number of scales, each of half the side of the next.
        damsm_weight: λ.
        damsm_kimg: Kimg in which DAMSM learns, before all else.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        conditioning_dim: Length of the conditioning.
        generator_width: Channels of the coarsest picture's features.
        width: Channels of each discriminator's first layer.
        batch_size: Pictures a step over all processes.
    """
    sizes = {"noise_dim": noise_dim, "conditioning_dim": conditioning_dim, "scales": scales}
    sizes |= {"words": spec.words, "token_dim": spec.token_dim, "width": generator_width}
    generator = for_captions(AttentionGenerator, spec, **sizes)
    sides, dim = generator.resolutions, spec.sentence_dim
    critics = scale_critics(spec, sides, condition_dim=dim, width=width)
    damsm = Damsm(dim, spec.token_dim)

    def matched(networks: Networks, batch: Batch, pictures: Tensor) -> Tensor:
        said = unpack(batch.right, spec.words, spec.token_dim)
        return cast(Tensor, networks["damsm"](pictures, said, batch.also_true))

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            fakes = drawn_for_captions(networks, batch, "discriminator").pictures
        said = (each[:, :dim] for each in (batch.right, batch.wrong))
        real, objective = batch.pictures, non_saturating
        return joint_discriminator_loss(networks, objective, real, fakes, *said).losses("D", 0.5)

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        fakes = drawn_for_captions(networks, batch, "generator")
        sentence = batch.right[:, :dim]
        joint = joint_generator_loss(networks, non_saturating, fakes.pictures, sentence)
        kl = conditioning_kl(*drawn_gaussian(fakes))
        with settled(networks["damsm"]):
            matching = matched(networks, batch, fakes.pictures[-1])
        return joint.losses("G", 0.5, kl=(1.0, kl), damsm=(damsm_weight, matching))

    def damsm_loss(networks: Networks, batch: Batch) -> Losses:
        loss = matched(networks, batch, batch.pictures)
        return Losses(loss, {"M/damsm": loss.detach()})

    recipe = two_players(
        generator=generator,
        discriminator=critics,
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
        ema=Ema(half_life=16.6),
    )
    networks = {**recipe.networks, "damsm": damsm}
    learned = Adam(2e-3, betas=(0.5, 0.999))
    first = Phase("damsm", learned, damsm_loss, active=lambda kimg: kimg < damsm_kimg)
    then = (replace(phase, active=lambda kimg: kimg >= damsm_kimg) for phase in recipe.phases)
    fit = standardizing(*networks.values())
    return replace(recipe, networks=networks, phases=(first, *then), fit=fit)
