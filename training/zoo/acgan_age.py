"""Age-cGAN: the same face at another age, by searching for the noise that draws it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from training.classes import class_logits_of, drawn_labels
from training.compose import draw
from training.networks import usual_critic
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register
from training.zoo.cgan import cgan


@register(section="C")
def acgan_age(
    spec: Spec,
    *,
    encoder_start: float = 0.0,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Age-conditional GAN: draw a person at each age, and find the noise that is this person.

    Antipov, Baccouche and Dugelay, 2017, arXiv:1702.01983.

    min_G max_D  E log D(x, y) + E log(1 - D(G(z, y), y)), y one of six age groups
    E: min E ‖z - E(G(z, y))‖²; its answer z₀ = E(x) for a real picture is a start
    z* = argmin_z ‖FR(x) - FR(G(z, y₀))‖ from z₀ by L-BFGS, FR a recogniser's embedding

    The aged picture is G(z*, y) for the wanted y: see `training.latent_search`. Labels are ages.

    Deviations: E meets fresh pairs (z, G(z, y)) in every step instead of a hundred thousand that
    are drawn once; by default it learns beside G, not after it. FR is whatever network the caller
    has, and there are as many groups as the data has labels. The search takes the squared distance.
    G's loss does not saturate. The losses are as remembered from the paper; its rates and layers
    could not be compared.

    Args:
        spec: What the data is; the labels are the age groups.
        encoder_start: Kimg from which E learns.
        learning_rate: Of Adam with betas 0.5 and 0.999, for all networks.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in all networks; points have none.
        batch_size: Samples a step over all processes.
    """
    recipe = cgan(
        spec,
        learning_rate=learning_rate,
        noise_dim=noise_dim,
        width=width,
        norm=norm,
        batch_size=batch_size,
    )
    encoder = usual_critic(spec, outputs=noise_dim, width=width, norm=norm)
    asked = drawn_labels(spec.classes())

    def encoder_loss(networks: Networks, batch: Batch) -> Losses:
        noise = batch.noise.normal("encoder", noise_dim)
        with torch.no_grad():
            drawn = draw(networks, batch, "encoder", asked(batch))
        apart = encode(networks, drawn) - noise
        loss = apart.square().sum(dim=1).mean()
        return Losses(loss, {"E/noise": loss.detach()})

    learns = Phase(
        "encoder",
        Adam(learning_rate, betas=(0.5, 0.999)),
        encoder_loss,
        active=lambda kimg: kimg >= encoder_start,
    )
    networks = {**recipe.networks, "encoder": encoder}
    return replace(
        recipe, key="", networks=networks, phases=(*recipe.phases, learns), joins_late=True
    )


def encode(networks: Networks, pictures: Tensor) -> Tensor:
    """Return ``(n, noise_dim)``: the noise that the encoder takes pictures to be drawn from."""
    return class_logits_of(networks["encoder"], pictures)
