"""Bayesian GAN: not one generator, but a distribution over their weights."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from t2i.networks.base import Scores
from t2i.networks.bayesian import BayesianGenerator
from training.compose import two_players
from training.errors import TrainingError
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating
from training.optimizers import Adam
from training.posterior import Posterior
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register


@register(section="A", data="ring8")
def bayesian_gan(
    spec: Spec,
    *,
    samples: int = 4,
    draws: int = 10,
    prior: float = 1.0,
    probes: int = 0,
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

    The first term of the bound is -KL(q(β) ‖ p(β)) / N. The second is E_q E_{q(x)} r(x, β) for the
    right r, and its gradient by β goes through r's second argument: `probes` on. -r is D's logit.

    Deviations: by default one D of x alone estimates r for all β of q. The second term is
    -KL(q(x) ‖ p(x | β)), whose gradient by β is that of log E_{p(x | β)} exp(-r), through the
    samples, when r is right (Donsker and Varadhan). With `probes`, D is given what g makes of that
    many fixed ε in place of all weights. Local latents are part of ε; g draws samples of any kind,
    the paper's are discrete; G has no BatchNorm; rates and sizes are this file's own. Posterior
    samples of both players by Hamiltonian Monte Carlo are another paper's (arXiv:1705.09558).

    Args:
        spec: What the data is.
        samples: Weights drawn a step; each draws its share of the batch.
        draws: Weights that the trained generator draws with.
        prior: σ.
        probes: Fixed ε whose samples tell D which β drew; 0 leaves D without β. For points.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of ε.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        batch_size: Samples a step over all processes.
    """
    if samples < 1 or draws < 1 or prior <= 0 or probes < 0:
        given = f"{samples}, {draws}, {prior}, {probes}"
        raise TrainingError(
            f"samples, draws, prior, probes: are {given}; give more than 0, and probes 0 or more"
        )
    if probes:
        spec.expect("points")
    posterior = Posterior(samples, probes)

    def judged(networks: Networks, samples: Tensor, code: Tensor) -> Tensor:
        return cast(Scores, networks["discriminator"](samples, code)).logits

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            parts = posterior.shares(networks, batch, "discriminator")
        code = torch.cat([part.code for part in parts])
        real = judged(networks, torch.cat([part.real for part in parts]), code)
        fake = judged(networks, torch.cat([part.fake for part in parts]), code)
        loss = non_saturating.discriminator_loss(real, fake)
        return Losses(loss, {"D/adversarial": loss.detach()})

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        parts = posterior.shares(networks, batch, "generator")
        if probes:
            each = [-judged(networks, part.real, part.code).mean() for part in parts]
        else:
            minus = [judged(networks, part.fake, part.code) for part in parts]
            each = [torch.logsumexp(of, dim=0) - math.log(len(of)) for of in minus]
        likelihood = torch.stack(each).mean()
        kl = cast(BayesianGenerator, networks["generator"]).divergence(prior) / max(spec.size, 1)
        shown = {"G/likelihood": likelihood.detach(), "G/divergence": kl.detach()}
        return Losses(kl - likelihood, shown)

    return two_players(
        generator=BayesianGenerator.like(
            usual_generator(spec, noise_dim=noise_dim, width=width, norm=False), draws
        ),
        discriminator=usual_critic(
            spec, condition_dim=probes * math.prod(spec.sample_shape), width=width
        ),
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
