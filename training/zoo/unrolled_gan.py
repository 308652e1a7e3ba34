"""Unrolled GAN: the generator looks some steps of the discriminator ahead."""

from __future__ import annotations

import torch
from torch import Tensor

from t2i.networks import MlpCritic, MlpGenerator
from training.compose import draw, two_players
from training.errors import TrainingError
from training.networks import usual_critic, usual_generator
from training.objectives import minimax
from training.optimizers import Adam, linear_decay
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register
from training.unroll import UnrolledAdam, Weights, gradient_descent, scored_with, unroll


@register(section="A", data="ring8")
def unrolled_gan(
    spec: Spec,
    *,
    unrolled: int = 5,
    inner_rate: float = 0.0,
    learning_rate: float = 1e-4,
    generator_rate: float = 1e-4,
    decay_kimg: float = 0.0,
    noise_dim: int = 256,
    width: int = 64,
    batch_size: int = 512,
) -> Recipe:
    """Unrolled generative adversarial networks: G answers the discriminator's next K steps.

    Metz, Poole, Pfau and Sohl-Dickstein, 2017, arXiv:1611.02163.

    f(θ_G, θ_D) = E log D(x) + E log(1 - D(G(z)))                           (section 2.1)
    θ_D⁰ = θ_D,   θ_D^{k+1} = θ_D^k + η ∂f(θ_G, θ_D^k) / ∂θ_D^k             (section 2.2)
    f_K(θ_G, θ_D) = f(θ_G, θ_D^K(θ_G, θ_D))                                 (section 2.2)
    G descends f_K, D ascends f                                             (section 2.2)

    The gradient of f_K passes through all K steps, so the term of the real samples counts as well:
    it shows G how D would answer. D itself takes its one ordinary step.

    As in the authors' experiments the unrolled steps are those of D's own Adam, from its moments;
    `inner_rate` makes them plain gradient ascent, as written above. All steps see one batch.

    Deviations: D's hidden units are leaky; pictures take DCGAN's networks. With several processes
    each looks ahead on its own rows.

    Args:
        spec: What the data is.
        unrolled: The paper's K; 0 is the ordinary GAN.
        inner_rate: Above 0, unrolled steps are gradient ascent with this rate.
        learning_rate: Of the discriminator's Adam with betas 0.5 and 0.999.
        generator_rate: Of the generator's.
        decay_kimg: Kimg at which both rates, from the half of it on, have fallen to 0; 0 for never.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        batch_size: Samples a step over all processes.
    """
    if unrolled < 0:
        raise TrainingError(f"unrolled: is {unrolled}; give 0 or more")
    generator = usual_generator(spec, noise_dim=noise_dim, width=width)
    critic = usual_critic(spec, width=width)
    if spec.kind == "points":
        shape, hidden = spec.sample_shape, 2 * width
        generator = MlpGenerator(sample_shape=shape, noise_dim=noise_dim, width=hidden, depth=2)
        critic = MlpCritic(sample_shape=shape, width=hidden, depth=2)
    schedule = linear_decay(decay_kimg / 2, decay_kimg) if decay_kimg else None
    optimizer = UnrolledAdam(learning_rate, (0.5, 0.999), schedule)

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            fake = draw(networks, batch, "discriminator")
        real_logits = networks["discriminator"](batch.pictures).logits
        loss = minimax.discriminator_loss(real_logits, networks["discriminator"](fake).logits)
        return Losses(loss, {"D/adversarial": loss.detach()})

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        fake, player = draw(networks, batch, "generator"), networks["discriminator"]

        def minus_f(weights: Weights) -> Tensor:
            real_logits = scored_with(player, weights, batch.pictures).logits
            return minimax.discriminator_loss(
                real_logits, scored_with(player, weights, fake).logits
            )

        rule = gradient_descent(inner_rate) if inner_rate else optimizer.rule(player)
        with torch.autocast(fake.device.type, enabled=False):
            value = -minus_f(unroll(player, minus_f, unrolled, rule))
        return Losses(value, {"G/adversarial": value.detach()})

    return two_players(
        generator=generator,
        discriminator=critic,
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=optimizer,
        batch_size=batch_size,
        generator_optimizer=Adam(generator_rate, (0.5, 0.999), schedule),
        differentiates_twice=True,
    )
