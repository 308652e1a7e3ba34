"""Bayesian GAN: not one generator, but a distribution over their weights."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from t2i.networks.bayesian import BayesianGenerator
from training.compose import two_players, unconditional
from training.errors import TrainingError
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register


@register(section="A", data="ring8")
def bayesian_gan(
    spec: Spec,
    *,
    samples: int = 4,
    draws: int = 10,
    prior: float = 1.0,
    learning_rate: float = 1e-3,
    noise_dim: int = 64,
    width: int = 64,
    batch_size: int = 128,
) -> Recipe:
    """Hierarchical implicit models: a prior on G's weights, and their posterior by LFVI.

    Tran, Ranganath and Blei, 2017, arXiv:1702.08896.

    Model       β ~ N(0, σ²),  x_n = g(ε_n; β): the weights of the generator are latent variables
                of all data, and p(x | β) can be drawn from but not computed
    Posterior   q(β) = N(μ, s²) maximises the evidence bound, a sample x_n at a time

                E_q [log p(β) - log q(β)] / N + E_q E_x [log p(x | β) - log q(x)]

    Ratio       r = log p(x | β) - log q(x), where q(x) is the data, by the log score

                E_{p(x | β)} [-log σ(r)] + E_{q(x)} [-log (1 - σ(r))]

    The first term of the bound is -KL(q(β) ‖ p(β)) / N. The second is -KL(q(x) ‖ p(x | β)), whose
    gradient by β is that of log E_{p(x | β)} exp(-r), through the samples, when r is right
    (Donsker and Varadhan): it can be had without r as a function of all weights. -r is D's logit.

    Deviations: just that: the paper's r takes β; here one D estimates it for all β of q at once.
    Local latents are part of ε. The paper's example of images is discrete; here g draws samples of
    any kind. G has no BatchNorm.

    Args:
        spec: What the data is.
        samples: Weights drawn a step; each draws its share of the batch.
        draws: Weights that the trained generator draws with.
        prior: σ.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of ε.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        batch_size: Samples a step over all processes.
    """
    if samples < 1 or draws < 1 or prior <= 0:
        raise TrainingError("samples, draws, prior: give more than 0")
    posterior = BayesianGenerator.like(
        usual_generator(spec, noise_dim=noise_dim, width=width, norm=False), draws
    )

    def drawn(networks: Networks, batch: Batch, name: str) -> list[Tensor]:
        generator = cast(BayesianGenerator, networks["generator"])
        noise = batch.noise.normal(name, posterior.noise_dim)
        nothing = unconditional(batch)
        parts = zip(nothing.chunk(samples), noise.chunk(samples), strict=True)
        return [generator.with_weights(generator.weights(), e, z).float() for e, z in parts]

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            fake = torch.cat(drawn(networks, batch, "discriminator"))
        critic = networks["discriminator"]
        real_logits, fake_logits = critic(batch.pictures).logits, critic(fake).logits
        loss = non_saturating.discriminator_loss(real_logits, fake_logits)
        return Losses(loss, {"D/adversarial": loss.detach()})

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        logits = [networks["discriminator"](x).logits for x in drawn(networks, batch, "generator")]
        each = [torch.logsumexp(minus_r, dim=0) - math.log(len(minus_r)) for minus_r in logits]
        likelihood = torch.stack(each).mean()
        kl = cast(BayesianGenerator, networks["generator"]).divergence(prior) / max(spec.size, 1)
        parts = {"G/likelihood": likelihood.detach(), "G/divergence": kl.detach()}
        return Losses(kl - likelihood, parts)

    return two_players(
        generator=posterior,
        discriminator=usual_critic(spec, width=width),
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
