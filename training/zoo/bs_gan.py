"""Boundary-seeking GAN: learns to draw what is discrete, by weighing its own samples."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from t2i.networks.base import Scores
from t2i.networks.levels import LevelGenerator, log_likelihood, pick_several
from training.compose import compose, two_players
from training.errors import TrainingError
from training.networks import level_generator, usual_critic, usual_generator
from training.objectives import boundary_seeking
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register


@register(section="A", data="mnist")
def bs_gan(
    spec: Spec,
    *,
    levels: int = 2,
    draws: int = 20,
    learning_rate: float = 1e-4,
    noise_dim: int = 64,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Boundary-seeking GAN: a policy gradient towards where the discriminator cannot tell.

    Hjelm, Jacob, Che, Trischler, Cho and Bengio, 2017, arXiv:1702.08431.

    w(x) = D(x) / (1 - D(x)) = exp F(x), as p(x) = w(x) q(x) for the best D
    w̃(x_m) = w(x_m) / Σ_m' w(x_m'), over M draws x_m ~ g(x | z) of the same z
    ∇ L_G = -E_z Σ_m w̃(x_m) ∇ log g(x_m | z)                                  (discrete data)
    L_G = ½ E (log D(G(z)) - log(1 - D(G(z))))² = ½ E F(G(z))²                (continuous data)

    F is D's logit. D is the first GAN's. The real pictures are moved to the nearest level.

    Deviations: D sees a level's value between -1 and 1 rather than one-hot levels, and learns from
    one draw of each z where the authors' code shows it all M; the divergence is the first GAN's
    alone. As in that code, D has no BatchNorm with discrete data: with it (MNIST, 16 pixels) D told
    everything apart and G drew one pattern.

    Args:
        spec: What the data is.
        levels: Different values of a pixel, 2 for black and white; 0 draws continuous samples.
        draws: Draws M a noise, by which the generator's step is estimated.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise that chances, or continuous samples, are drawn from.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in the generator, and in D of continuous data; points have none.
        batch_size: Samples a step over all processes.
    """
    critic = usual_critic(spec, width=width, norm=norm and not levels)
    adam = Adam(learning_rate, betas=(0.5, 0.999))
    if not levels:
        return compose(
            generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
            discriminator=critic,
            objective=boundary_seeking,
            optimizer=adam,
            batch_size=batch_size,
        )
    if draws < 2:
        raise TrainingError(f"draws: is {draws}; give 2 or more, which are weighed by each other")
    generator = level_generator(spec, levels=levels, source_dim=noise_dim, width=width, norm=norm)

    def logits(networks: Networks, samples: Tensor) -> Tensor:
        return cast(Scores, networks["discriminator"](samples)).logits

    def drawn(networks: Networks, batch: Batch, name: str, each: int) -> tuple[Tensor, Tensor]:
        """Log-chances (n, levels, c, r, r) and the levels (n, each, c, r, r) drawn by them."""
        drawer = cast(LevelGenerator, networks["generator"])
        chances = drawer.log_chances(batch.noise.normal(name, noise_dim))
        chosen = batch.noise.uniform(f"{name}-draws", each * batch.pictures[0].numel())
        return chances, pick_several(chances.detach(), chosen)

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        drawer = cast(LevelGenerator, networks["generator"])
        with torch.no_grad():
            _, chosen = drawn(networks, batch, "discriminator", 1)
        real = logits(networks, drawer.nearest(batch.pictures))
        fake = logits(networks, drawer.values(chosen[:, 0]))
        total = boundary_seeking.discriminator_loss(real, fake)
        parts = {"D/adversarial": total, "D/real": real.mean(), "D/fake": fake.mean()}
        return Losses(total, {name: value.detach() for name, value in parts.items()})

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        chances, chosen = drawn(networks, batch, "generator", draws)
        with torch.no_grad():
            samples = cast(LevelGenerator, networks["generator"]).values(chosen).flatten(0, 1)
            weights = logits(networks, samples).reshape(-1, draws).softmax(dim=1)
        total = -(weights * log_likelihood(chances, chosen)).sum(dim=1).mean()
        # Of M draws, as many count as if they weighed the same.
        counted = weights.square().sum(dim=1).reciprocal().mean()
        return Losses(total, {"G/adversarial": total.detach(), "G/draws_that_count": counted})

    return two_players(
        generator=generator,
        discriminator=critic,
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=adam,
        batch_size=batch_size,
    )
