from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from t2i.networks import ResidualCritic
from t2i.networks.conditional_norm import ConditionalBatchNorm2d
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.registry import Spec
from training.zoo.sngan import sngan


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("labels", [False, True])
def test_losses_are_the_hinge_of_equations_16_and_17(labels: bool) -> None:
    recipe = sngan(spec_of(squares()), labels=labels, width=4, generator_width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(pictures(), torch.tensor([0, 1, 2, 0])))
    real, fake, mine = scored.logits
    expected = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.mean())


def test_every_layer_of_the_critic_is_normalised_and_none_of_the_generator() -> None:
    recipe = sngan(spec_of(squares()), labels=True, width=4, generator_width=4)
    for name, expected in (("discriminator", True), ("generator", False)):
        for module in recipe.networks[name].modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert parametrize.is_parametrized(module) == expected


def test_labels_enter_by_projection_and_by_conditional_batchnorm() -> None:
    recipe = sngan(spec_of(squares()), labels=True, width=4, generator_width=4)
    critic, generator = recipe.networks["discriminator"], recipe.networks["generator"]
    assert isinstance(critic, ResidualCritic) and critic.project is not None
    norms = [m for m in generator.modules() if isinstance(m, ConditionalBatchNorm2d)]
    assert norms and all(norm.gain is not None for norm in norms)


def test_rates_fall_to_nothing_where_that_is_asked_for() -> None:
    recipe = sngan(spec_of(squares()), width=4, generator_width=4, decay_kimg=8.0)
    for phase in recipe.phases:
        assert phase.optimizer.schedule is not None
        rates = [phase.optimizer.schedule(kimg) for kimg in (0.0, 0.5, 4.0, 8.0, 9.0)]
        assert rates == [1.0, 0.9375, 0.5, 0.0, 0.0]


def test_labels_asked_of_points_or_unlabelled_pictures_are_refused() -> None:
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        sngan(spec_of(ring()))
    with pytest.raises(TrainingError, match="the data has none"):
        sngan(Spec(32), labels=True)
