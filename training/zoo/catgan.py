"""CatGAN: a discriminator that sorts, by entropies alone."""

from __future__ import annotations

from torch.nn import functional as F

from training.classes import class_logits, entropies
from training.compose import draw, two_players
from training.errors import TrainingError
from training.networks import usual_critic, usual_generator
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Recipe
from training.registry import Spec, register


@register(section="C", data="mnist")
def catgan(
    spec: Spec,
    *,
    categories: int = 20,
    label_weight: float = 0.0,
    learning_rate: float = 2e-4,
    noise_dim: int = 128,
    width: int = 64,
    norm: bool = True,
    batch_size: int = 100,
) -> Recipe:
    """Categorical GAN: D is sure of what is real, unsure of fakes, and uses all categories.

    Springenberg, 2016, arXiv:1511.06390.

    L_D = max_D  H_X[p(y | D)] - E H[p(y | x, D)] + E H[p(y | G(z), D)]            (eq. 7)
    L_G = min_G -H_G[p(y | D)] + E H[p(y | G(z), D)]                               (eq. 7)
    L_D + λ E log p(y | x, D) over labelled samples                                (eq. 9)

    H_X and H_G are entropies of p(y) averaged over real samples and over fakes; they are estimated
    within a batch, so that it must be large beside the number of categories.

    Deviations: DCGAN's networks instead of pooling ones, and no noise on D's hidden layers; points
    take linear layers. Entropies are of each process's share of the batch.

    Args:
        spec: What the data is.
        categories: How many the discriminator sorts into, where no labels are looked at.
        label_weight: λ; above 0 there is a category a class, and labels are looked at.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    if label_weight:
        categories = spec.classes(all_labelled=False)
    if categories < 2:
        raise TrainingError(f"categories: is {categories}; give 2 or more")

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        use, doubt = entropies(class_logits(networks, batch.pictures))
        fake = class_logits(networks, draw(networks, batch, "discriminator").detach())
        _, wanted = entropies(fake)
        total = doubt - use - wanted
        parts = {"D/use": use.detach(), "D/doubt": doubt.detach(), "D/fake": wanted.detach()}
        if label_weight and batch.labelled is not None:
            told = class_logits(networks, batch.labelled.pictures)
            labelled = F.cross_entropy(told, batch.labelled.labels)
            total, parts["D/labelled"] = total + label_weight * labelled, labelled.detach()
        return Losses(total, parts)

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        use, doubt = entropies(class_logits(networks, draw(networks, batch, "generator")))
        return Losses(doubt - use, {"G/use": use.detach(), "G/doubt": doubt.detach()})

    return two_players(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_critic(spec, outputs=categories, width=width, norm=norm),
        generator_loss=generator_loss,
        discriminator_loss=discriminator_loss,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
        joins_late=True,
    )
