"""EBGAN: an autoencoder's error as the energy of a picture."""

from __future__ import annotations

from torch.nn import functional as F

from training.compose import compose
from training.networks import usual_autoencoder, usual_generator
from training.objectives import Objective
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register
from training.regularizers import PullingAway


@register(section="A", data="mnist")
def ebgan(
    spec: Spec,
    *,
    margin: float = 1.0,
    pulling_away: float = 0.1,
    learning_rate: float = 1e-3,
    noise_dim: int = 100,
    width: int = 64,
    code_dim: int = 64,
    norm: bool = True,
    batch_size: int = 64,
) -> Recipe:
    """Energy-based GAN: low energy for what an autoencoder rebuilds, a margin for fakes.

    Zhao, Mathieu and LeCun, 2017, arXiv:1609.03126.

    D(x) = ‖Dec(Enc(x)) - x‖                                                       (eq. 3)
    L_D = D(x) + max(0, m - D(G(z))),   L_G = D(G(z))                              (eq. 1 and 2)
    f_PT = 1 / (N (N - 1)) Σ_i Σ_{j≠i} (S_iᵀ S_j / (‖S_i‖ ‖S_j‖))²                 (eq. 4)

    S are the codes of a batch of fakes. The pulling-away term is added to L_G and is 0 where the
    codes are orthogonal: EBGAN-PT. Without it the paper's plain EBGAN.

    Deviations: the energy is the mean squared error over a picture's entries, so that the margin
    does not grow with its size; points take linear layers; the noise is normal.

    Args:
        spec: What the data is.
        margin: Energy m up to which D pushes fakes.
        pulling_away: Weight of f_PT in G's loss; 0 leaves it out.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Channels of the outer convolutions; points have twice as many hidden units.
        code_dim: Length of the code of points.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    return compose(
        generator=usual_generator(spec, noise_dim=noise_dim, width=width, norm=norm),
        discriminator=usual_autoencoder(spec, width=width, code_dim=code_dim, norm=norm),
        objective=energy(margin),
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        regularizers=[PullingAway(pulling_away)] if pulling_away else [],
        batch_size=batch_size,
    )


def energy(margin: float) -> Objective:
    """Return the game on energies, which are logits turned round (eq. 1 and 2)."""
    return Objective(
        real=lambda logits: -logits.mean(),
        fake=lambda logits: F.relu(margin + logits).mean(),
        generator=lambda logits: -logits.mean(),
    )
