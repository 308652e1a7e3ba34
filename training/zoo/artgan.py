"""ArtGAN: the label's gradient reaches the generator, which also decodes what D encodes."""

from __future__ import annotations

from torch.nn import functional as F

from training.classes import as_fake, class_logits, drawn_labels
from training.compose import draw, two_players
from training.networks import usual_critic, usual_generator
from training.optimizers import RMSProp
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register
from training.shared_autoencoder import reconstructed


@register(section="C", data="cifar10")
def artgan(
    spec: Spec,
    *,
    reconstruction_weight: float = 1.0,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 100,
) -> Recipe:
    """ArtGAN: a categorical discriminator that shares an autoencoder with the generator.

    Tan, Chan, Aguirre and Tanaka, 2017, arXiv:1702.03410.

    L_D = -E log p(k | x) - E log p(K + 1 | G(z, ŷ))
    L_G = -E log p(ŷ | G(z, ŷ)) + E ‖Dec(Enc(x)) - x‖²

    D is Enc with a softmax over K classes and the fake one on it (clsNet); G is zNet, which maps
    noise and label to features of Enc's shape, and Dec, which makes a picture of them. The labels ŷ
    of fakes are drawn, and D's error on them flows back to G. The squares train Dec.

    Deviations: DCGAN's networks at all sides, so the same width for both players; squares are means
    over pixels; BatchNorm gathers its statistics on fakes alone, which is what is drawn later; the
    noise is normal, not uniform. The optimizer is the paper's as remembered (RMSProp, decay 0.9,
    there 1e-3 on batches of 128, later a tenth of it); rate and batch are of the code that its
    authors published with the later version (arXiv:1708.09533), and the rate is not stepped down.

    Args:
        spec: What the data is.
        reconstruction_weight: What multiplies the squares.
        learning_rate: Of RMSProp, for both players.
        noise_dim: Length of the noise.
        width: Channels of the outer layer of both players.
        norm: BatchNorm in both players.
        batch_size: Pictures a step over all processes.
    """
    spec.expect("pictures")
    classes = spec.classes()
    asked = drawn_labels(classes)

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        fake = draw(networks, batch, "discriminator", asked(batch)).detach()
        real_loss = F.cross_entropy(class_logits(networks, batch.pictures), batch.classes)
        fake_loss = as_fake(class_logits(networks, fake))
        parts = {"D/real": real_loss.detach(), "D/fake": fake_loss.detach()}
        return Losses(real_loss + fake_loss, parts)

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        labels = asked(batch)
        logits = class_logits(networks, draw(networks, batch, "generator", labels))
        adversarial = F.cross_entropy(logits, labels.argmax(dim=1))
        squares = F.mse_loss(reconstructed(networks, batch.pictures), batch.pictures)
        total = adversarial + reconstruction_weight * squares
        parts = {"G/adversarial": adversarial.detach(), "G/reconstruction": squares.detach()}
        return Losses(total, parts)

    return two_players(
        generator=usual_generator(
            spec, condition_dim=classes, noise_dim=noise_dim, width=width, norm=norm
        ),
        discriminator=usual_critic(spec, outputs=classes + 1, width=width, norm=norm),
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=RMSProp(learning_rate, decay=0.9),
        batch_size=batch_size,
        joins_late=True,
    )
