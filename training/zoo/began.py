"""BEGAN: an autoencoder's errors on real and fake pictures, held in balance."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from t2i.networks.base import Scores
from training.balance import Balance
from training.compose import draw
from training.errors import TrainingError
from training.networks import began_autoencoder, began_generator
from training.optimizers import Adam, halved
from training.recipe import Batch, Losses, Networks, Phase, Recipe, Update
from training.registry import Spec, register


@register(section="A", data="mnist")
def began(
    spec: Spec,
    *,
    gamma: float = 0.5,
    k_rate: float = 1e-3,
    learning_rate: float = 1e-4,
    halve_kimg: float = 0.0,
    noise_dim: int = 64,
    code_dim: int = 64,
    width: int = 64,
    batch_size: int = 16,
) -> Recipe:
    """Boundary equilibrium GAN: match the distributions of errors, not those of pictures.

    Berthelot, Schumm and Metz, 2017, arXiv:1703.10717.

    L(v) = |v - D(v)|, the error of an autoencoder D                               (section 3.1)
    L_D = L(x) - k_t L(G(z_D)),   L_G = L(G(z_G))                                  (section 3.4)
    k_{t+1} = k_t + λ_k (γ L(x) - L(G(z_G))), kept in [0, 1], from k_0 = 0
    M_global = L(x) + |γ L(x) - L(G(z_G))|                                         (section 3.4.1)

    γ = E L(G(z)) / E L(x) at equilibrium: low for good pictures, high for many different ones.
    M_global is reported as ``G/global_measure``; it falls as training converges.

    Deviations: G's step follows D's instead of sharing its moment; G ends in a tanh; no skip
    connections and vanishing residuals (section 3.5); the rate is halved at fixed times, where
    asked, instead of where M_global stalls; the noise is normal, not uniform. Points take linear
    layers.

    Args:
        spec: What the data is.
        gamma: Diversity ratio γ, from 0 to 1.
        k_rate: Step λ_k of k_t.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        halve_kimg: Kimg after which the learning rate is halved, time and again; 0 keeps it.
        noise_dim: Length of the noise.
        code_dim: Length of the autoencoder's code.
        width: Channels of the outer convolutions; points have twice as many hidden units.
        batch_size: Samples a step over all processes.
    """
    if not 0.0 <= gamma <= 1.0:
        raise TrainingError(f"gamma: is {gamma}; give 0 to 1")
    generator = began_generator(spec, noise_dim=noise_dim, width=width)
    critic = began_autoencoder(spec, code_dim=code_dim, width=width)
    balance = Balance(gamma, k_rate)

    def energy(networks: Networks, samples: Tensor) -> Tensor:
        return -cast(Scores, networks["discriminator"](samples)).logits.mean()

    def discriminator_loss(networks: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            samples = draw(networks, batch, "discriminator")
        real, fake = energy(networks, batch.pictures), energy(networks, samples)
        k = cast(Balance, networks["balance"]).k.clone()
        parts = {"D/real": real.detach(), "D/fake": fake.detach(), "D/k": k}
        return Losses(real - k * fake, parts)

    def generator_loss(networks: Networks, batch: Batch) -> Losses:
        fake = energy(networks, draw(networks, batch, "generator"))
        measure = cast(Balance, networks["balance"]).measure(fake.detach())
        return Losses(fake, {"G/fake": fake.detach(), "G/global_measure": measure})

    def remember(networks: Networks, update: Update) -> None:
        cast(Balance, networks["balance"]).real.copy_(update.parts["D/real"])

    def rebalance(networks: Networks, update: Update) -> None:
        cast(Balance, networks["balance"]).move(update.parts["G/fake"])

    schedule = halved(halve_kimg) if halve_kimg else None
    adam = Adam(learning_rate, betas=(0.5, 0.999), schedule=schedule)
    return Recipe(
        key="",
        networks={"generator": generator, "discriminator": critic, "balance": balance},
        phases=(
            Phase("discriminator", adam, discriminator_loss, after=remember),
            Phase("generator", adam, generator_loss, after=rebalance),
        ),
        batch_size=batch_size,
        ema=None,
        joins_late=False,
    )
