"""SGAN: the discriminator is the classifier."""

from __future__ import annotations

from torch.nn import functional as F

from training.classes import as_fake, class_logits, not_fake
from training.compose import draw, two_players
from training.errors import TrainingError
from training.networks import usual_critic, usual_generator
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register


@register(section="C", data="mnist")
def sgan(
    spec: Spec,
    *,
    saturating: bool = False,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Semi-supervised GAN: one softmax over the classes and FAKE, so that D is a classifier too.

    Odena, 2016, arXiv:1606.01583.

    L_D = -E log p(y | x) - E log p(FAKE | G(z)),   L_G = -L_D on fakes       (algorithm 1)

    D/C has N + 1 outputs, of which samples of the data want their class and fakes want FAKE; G
    wants the opposite. Samples without a label want anything but FAKE: -E log (1 - p(FAKE | x)).

    Deviations: G minimises -log (1 - p(FAKE)), which does not saturate, unless asked to; the paper
    says nothing of samples without a label, whose term is that of Salimans et al., 1606.03498,
    section 5; it is there only where the data has some. Points take linear layers.

    Args:
        spec: What the data is; a part of it may lack labels.
        saturating: G minimises log p(FAKE), as algorithm 1 says.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    classes = spec.classes(all_labelled=False)
    some_unlabelled = spec.labelled < spec.size

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        if batch.labelled is None:
            raise TrainingError("labels: the batch has none; train on data with labels")
        told = class_logits(networks, batch.labelled.pictures)
        labelled = F.cross_entropy(told, batch.labelled.labels)
        fake = as_fake(class_logits(networks, draw(networks, batch, "discriminator").detach()))
        parts = {"D/labelled": labelled.detach(), "D/fake": fake.detach()}
        total = labelled + fake
        if some_unlabelled:
            real = not_fake(class_logits(networks, batch.pictures))
            total, parts["D/real"] = total + real, real.detach()
        return Losses(total, parts)

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        logits = class_logits(networks, draw(networks, batch, "generator"))
        loss = -as_fake(logits) if saturating else not_fake(logits)
        return Losses(loss, {"G/adversarial": loss.detach()})

    return two_players(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_critic(spec, outputs=classes + 1, width=width, norm=norm),
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
        joins_late=True,
    )
