"""AM-GAN: every sample is pulled towards one class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from training.classes import as_fake, class_logits, drawn_labels
from training.compose import draw, two_players
from training.networks import usual_critic, usual_generator
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register


@register(section="C", data="cifar10")
def am_gan(
    spec: Spec,
    *,
    dynamic: bool = True,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 100,
) -> Recipe:
    """Activation maximisation GAN: each fake climbs towards one class, not towards all at once.

    Zhou, Cai, Rong, Song, Ren, Zhang, Yu and Wang, 2018, arXiv:1703.02000.

    L_D = E H(v(y), D(x)) + E H(v(K + 1), D(G(z)))                                   (eq. 15)
    L_G = E H(v(y), D(G(z)))                                                         (eq. 14)
    y = argmax_{i ≤ K} D_i(G(z))                            (section 5.1, dynamic labelling)

    H is the cross-entropy, v one-hot, and D a softmax over K classes and the fake one. A generator
    that only avoids the fake class is pulled towards the average of all classes; one target a
    sample has a gradient of its own. The target moves with the sample, and carries no gradient.

    Deviations: DCGAN's networks, smaller than the authors', without the noise and the dropout that
    their published code has in D; the learning rate is half of the 4e-4 there and does not fall.

    Args:
        spec: What the data is.
        dynamic: Targets are what D takes each fake for; off, they are drawn, G is told, and the
            bundle draws by label (the paper's predefined labelling).
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    classes = spec.classes()
    condition_dim = 0 if dynamic else classes
    asked = drawn_labels(classes)

    def fakes(networks: Networks, batch: Batch, name: str) -> Tensor:
        return draw(networks, batch, name, None if dynamic else asked(batch))

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        real = F.cross_entropy(class_logits(networks, batch.pictures), batch.classes)
        fake = as_fake(class_logits(networks, fakes(networks, batch, "discriminator").detach()))
        return Losses(real + fake, {"D/real": real.detach(), "D/fake": fake.detach()})

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        logits = class_logits(networks, fakes(networks, batch, "generator"))
        target = logits[:, :classes].argmax(dim=1) if dynamic else asked(batch).argmax(dim=1)
        loss = F.cross_entropy(logits, target)
        return Losses(loss, {"G/adversarial": loss.detach()})

    return two_players(
        generator=usual_generator(
            spec, condition_dim=condition_dim, noise_dim=noise_dim, width=width, norm=norm
        ),
        discriminator=usual_critic(spec, outputs=classes + 1, width=width, norm=norm),
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
        joins_late=True,
    )
