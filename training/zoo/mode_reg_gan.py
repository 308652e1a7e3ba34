"""Mode regularised GAN: an encoder tells the generator which modes there are."""

from __future__ import annotations

import torch
from torch import Tensor

from training.compose import draw, unconditional
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register


@register(section="A", data="stacked-mnist")
def mode_reg_gan(
    spec: Spec,
    *,
    manifold_diffusion: bool = False,
    reconstruction: float = 50.0,
    modes: float = 0.4,
    learning_rate: float = 2e-4,
    noise_dim: int = 100,
    width: int = 64,
    batch_size: int = 64,
) -> Recipe:
    """Mode regularized GANs: G is held to the data by an encoder E beside D.

    Che, Li, Jacob, Bengio and Li, 2017, arXiv:1612.02136.

    Reg-GAN (section 3.2)
        D     as in the first GAN, on x and G(z)
        G, E  -E log D(G(z)) + λ₁ E d(x, G(E(x))) - λ₂ E log D(G(E(x)))
    MDGAN, manifold step and diffusion step (section 3.3)
        D₁    x against G(E(x));               G, E  λ₁ E d(x, G(E(x))) - E log D₁(G(E(x)))
        D₂    G(E(x)) against G(z);            G     -E log D₂(G(z))

    G(E(x)) lies near x wherever x is, also in modes that G(z) misses: λ₂ asks D to like it there.
    MDGAN's two discriminators each compare what is not far apart: the data with its projection on
    G's manifold, and that with what noise gives.

    Deviations: the paper prints the λ₂ term with the sign turned, against its own text; d is the
    mean squared difference of a sample's entries, also in MDGAN; λ₁ is chosen on stacked digits, on
    which the paper's 0.2 held G to nothing. Points take linear layers; E's last layer is linear.

    Args:
        spec: What the data is.
        manifold_diffusion: MDGAN instead of Reg-GAN.
        reconstruction: λ₁.
        modes: λ₂, of Reg-GAN.
        learning_rate: Of Adam with betas 0.5 and 0.999, for all.
        noise_dim: Length of the noise and of E(x).
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        batch_size: Samples a step over all processes.
    """
    optimizer = Adam(learning_rate, betas=(0.5, 0.999))

    def rebuilt(networks: Networks, batch: Batch) -> Tensor:
        code = networks["encoder"](batch.pictures).class_logits
        samples: Tensor = networks["generator"](unconditional(batch), code).pictures[-1]
        return samples

    def told_apart(networks: Networks, judge: str, real: Tensor, fake: Tensor) -> Losses:
        critic = networks[judge]
        loss = non_saturating.discriminator_loss(critic(real).logits, critic(fake).logits)
        return Losses(loss, {f"D/{judge}": loss.detach()})

    def liked(networks: Networks, judge: str, fake: Tensor) -> Tensor:
        return non_saturating.generator_loss(networks[judge](fake).logits)

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            fake = draw(networks, batch, "discriminator")
            real = rebuilt(networks, batch) if manifold_diffusion else batch.pictures
        return told_apart(networks, "discriminator", real, fake)

    def manifold_discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            fake = rebuilt(networks, batch)
        return told_apart(networks, "manifold_discriminator", batch.pictures, fake)

    def manifold_loss(networks: Networks, batch: Batch) -> Losses:
        judge = "manifold_discriminator" if manifold_diffusion else "discriminator"
        again = rebuilt(networks, batch)
        apart = (batch.pictures - again).square().mean()
        near = liked(networks, judge, again)
        total = reconstruction * apart + (1.0 if manifold_diffusion else modes) * near
        return Losses(total, {"G/reconstruction": apart.detach(), "G/modes": near.detach()})

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        loss = liked(networks, "discriminator", draw(networks, batch, "generator"))
        return Losses(loss, {"G/adversarial": loss.detach()})

    def regularised_loss(networks: Networks, batch: Batch) -> Losses:
        own, held = generator_loss(networks, batch), manifold_loss(networks, batch)
        return Losses(own.total + held.total, {**own.parts, **held.parts})

    networks = {
        "generator": usual_generator(spec, noise_dim=noise_dim, width=width),
        "encoder": usual_critic(spec, outputs=noise_dim, width=width),
        "discriminator": usual_critic(spec, width=width),
    }
    both = ("generator", "encoder")
    phases: tuple[Phase, ...] = (Phase("discriminator", optimizer, discriminator_loss),)
    if manifold_diffusion:
        networks["manifold_discriminator"] = usual_critic(spec, width=width)
        manifold = Phase("manifold_discriminator", optimizer, manifold_discriminator_loss)
        phases = (manifold, Phase(both, optimizer, manifold_loss), *phases)
        phases += (Phase("generator", optimizer, generator_loss),)
    else:
        phases += (Phase(both, optimizer, regularised_loss),)
    return Recipe(key="", networks=networks, phases=phases, batch_size=batch_size, ema=None)
