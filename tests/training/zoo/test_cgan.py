from __future__ import annotations

import pytest
import torch

from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.registry import Spec
from training.zoo.cgan import cgan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


LABELS = torch.tensor([0, 1, 2, 3])


def test_losses_are_those_of_equation_2_under_the_label() -> None:
    recipe = cgan(spec_of(ring()), width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES, LABELS))
    real, fake, mine = (torch.sigmoid(logits) for logits in scored.logits)
    value = real.log().mean() + (1 - fake).log().mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), -value)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.log().mean())


def test_the_label_changes_what_both_players_do() -> None:
    recipe = cgan(spec_of(ring()), width=4, noise_dim=3)
    generator, critic = recipe.networks["generator"], recipe.networks["discriminator"]
    noise = torch.zeros(4, 3)
    drawn = generator(torch.eye(4), noise).pictures[-1]
    assert len({tuple(row) for row in drawn.tolist()}) == 4
    same = torch.zeros(4, 2)
    assert len(set(critic(same, torch.eye(4)).logits.tolist())) == 4


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        cgan(Spec(32))
