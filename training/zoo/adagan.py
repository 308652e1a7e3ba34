"""AdaGAN: one generator after the other, each for what those before it miss."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.mixture import MixtureGenerator
from training.boosting import Stages, missed
from training.compose import draw, unconditional
from training.errors import TrainingError
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Phase, Recipe, Update
from training.registry import Spec, register


@register(section="A", data="grid25")
def adagan(
    spec: Spec,
    *,
    components: int = 5,
    stage_kimg: float = 100.0,
    weighing: float = 0.25,
    learning_rate: float = 1e-3,
    noise_dim: int = 64,
    width: int = 64,
    batch_size: int = 64,
) -> Recipe:
    """AdaGAN: boosting. A mixture grows by one GAN a stage, trained on what the mixture misses.

    Tolstikhin, Gelly, Bousquet, Simon-Gabriel and Schölkopf, 2017, arXiv:1701.02386.

    For t = 1 … T (algorithm 1), with β_t = 1/t so that all components weigh the same:
        d tells the data from the mixture G_{t-1};
        w_i ∝ (λ - (1 - β_t) (1 - d(x_i)) / d(x_i))₊ weighs the data             (algorithm 3)
        a GAN learns the weighted data, and G_t = (1 - β_t) G_{t-1} + β_t G

    Deviations: the weights multiply the GAN's loss instead of choosing its samples, and λ is that
    of the batch, not of all data; d goes on from stage to stage; G's loss does not saturate; points
    take linear layers. The last entry of the noise chooses the component.

    Args:
        spec: What the data is.
        components: T.
        stage_kimg: Length of a stage in thousands of real samples; the last one stays.
        weighing: Share of each stage after the first in which d learns and the GAN waits.
        learning_rate: Of Adam with betas 0.5 and 0.999, for all.
        noise_dim: Length of each component's noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        batch_size: Samples a step over all processes.
    """
    if components < 1 or stage_kimg <= 0 or not 0 < weighing < 1:
        raise TrainingError("components, stage_kimg: give more than 0; weighing: between 0 and 1")
    optimizer = Adam(learning_rate, betas=(0.5, 0.999))
    part = usual_generator(spec, noise_dim=noise_dim, width=width)
    mixture = MixtureGenerator.of(part, components)
    stages = Stages(components, stage_kimg, weighing)

    def drawn(networks: Networks, batch: Batch, name: str) -> Tensor:
        noise = batch.noise.normal(name, mixture.noise_dim)
        newest = cast(MixtureGenerator, networks["generator"])
        return newest.component(stages.at(batch.kimg), unconditional(batch), noise).float()

    def judge(networks: Networks, batch: Batch) -> nn.Module:
        return cast(nn.ModuleList, networks["discriminators"])[stages.at(batch.kimg)]

    def weigher_loss(networks: Networks, batch: Batch) -> Losses:
        d = networks["weigher"]
        with torch.no_grad():
            fake = draw(networks, batch, "mixture")
        loss = non_saturating.discriminator_loss(d(batch.pictures).logits, d(fake).logits)
        return Losses(loss, {"D/weigher": loss.detach()})

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        critic = judge(networks, batch)
        with torch.no_grad():
            fake = drawn(networks, batch, "discriminator")
            d = networks["weigher"](batch.pictures).logits
            weights = missed(d, beta=1.0 / (stages.at(batch.kimg) + 1))
        real = (weights * F.softplus(-critic(batch.pictures).logits)).mean()
        loss = real + non_saturating.fake(critic(fake).logits)
        return Losses(loss, {"D/adversarial": loss.detach()})

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        fake = drawn(networks, batch, "generator")
        loss = non_saturating.generator_loss(judge(networks, batch)(fake).logits)
        return Losses(loss, {"G/adversarial": loss.detach()})

    def join(networks: Networks, update: Update) -> None:
        mixture.share(stages.at(update.kimg) + 1)

    critics = [usual_critic(spec, width=width) for _ in range(components + 1)]
    players = {"discriminators": nn.ModuleList(critics[1:]), "weigher": critics[0]}
    return Recipe(
        key="",
        networks={"generator": mixture, **players},
        phases=(
            Phase("weigher", optimizer, weigher_loss, active=stages.weighs),
            Phase("discriminators", optimizer, discriminator_loss, active=stages.learns),
            Phase("generator", optimizer, generator_loss, after=join, active=stages.learns),
        ),
        batch_size=batch_size,
        ema=None,
    )
