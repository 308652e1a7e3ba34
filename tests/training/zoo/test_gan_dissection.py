from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import spec_of
from training.zoo.gan_dissection import gan_dissection


def test_what_is_dissected_is_trained_like_dcgan() -> None:
    recipe = gan_dissection(spec_of(squares()), width=4, generator_width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(torch.rand(4, 3, 16, 16) * 2 - 1))
    real, fake, mine = scored.logits
    expected = F.softplus(-real).mean() + F.softplus(fake).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), F.softplus(-mine).mean())
    assert recipe.key == "gan-dissection"
