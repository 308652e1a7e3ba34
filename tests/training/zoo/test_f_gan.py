from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.divergences import DIVERGENCES
from training.errors import TrainingError
from training.zoo.f_gan import f_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])

# g_f and f* of tables 2 and 6, written out once more.
HAND: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "kl": (lambda v: v, lambda t: torch.exp(t - 1)),
    "reverse-kl": (lambda v: -torch.exp(-v), lambda t: -1 - torch.log(-t)),
    "pearson": (lambda v: v, lambda t: t**2 / 4 + t),
    "neyman": (lambda v: 1 - torch.exp(-v), lambda t: 2 - 2 * torch.sqrt(1 - t)),
    "hellinger": (lambda v: 1 - torch.exp(-v), lambda t: t / (1 - t)),
    "js": (
        lambda v: math.log(2) - torch.log(1 + torch.exp(-v)),
        lambda t: -torch.log(2 - torch.exp(t)),
    ),
    "gan": (lambda v: -torch.log(1 + torch.exp(-v)), lambda t: -torch.log(1 - torch.exp(t))),
}


@pytest.mark.parametrize("saturating", [False, True])
@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_the_players_play_on_the_bound_of_equation_6(name: str, saturating: bool) -> None:
    recipe = f_gan(spec_of(ring()), divergence=name, saturating=saturating, width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = scored.logits
    squeeze, conjugate = HAND[name]
    bound = squeeze(real).mean() - conjugate(squeeze(fake)).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), -bound)
    expected = -conjugate(squeeze(mine)).mean() if saturating else -squeeze(mine).mean()
    torch.testing.assert_close(losses["generator"].total.detach(), expected)


def test_an_unknown_divergence_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match="'total' is not known; give one of kl, reverse-kl"):
        f_gan(spec_of(ring()), divergence="total")
