from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.optimizers import Adam
from training.registry import Spec
from training.zoo.dcgan import dcgan


def test_losses_are_the_first_gans_without_saturation() -> None:
    recipe = dcgan(spec_of(squares()), width=4, generator_width=4, noise_dim=3)
    scored = Scored(recipe)
    pictures = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    losses = losses_of(recipe, batch_of(pictures))
    real, fake, mine = (torch.sigmoid(logits) for logits in scored.logits)
    value = real.log().mean() + (1 - fake).log().mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), -value)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.log().mean())


def test_the_guidelines_of_section_3_hold() -> None:
    recipe = dcgan(Spec(64))
    for network in recipe.networks.values():
        assert not any(isinstance(m, nn.MaxPool2d | nn.AvgPool2d) for m in network.modules())
    generator, critic = recipe.networks["generator"], recipe.networks["discriminator"]
    assert any(isinstance(m, nn.BatchNorm2d) for m in generator.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in critic.modules())
    slopes = [m.negative_slope for m in critic.modules() if isinstance(m, nn.LeakyReLU)]
    assert set(slopes) == {0.2}
    assert not any(isinstance(m, nn.LeakyReLU) for m in generator.modules())
    assert [m.out_features for m in generator.modules() if isinstance(m, nn.Linear)] == [1024 * 16]


def test_weights_start_from_a_deviation_of_two_hundredths() -> None:
    for module in dcgan(Spec(32)).networks["discriminator"].modules():
        if isinstance(module, nn.Conv2d):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_the_papers_settings_are_the_defaults() -> None:
    recipe = dcgan(Spec(64))
    assert recipe.batch_size == 128
    assert recipe.phases[0].optimizer == Adam(2e-4, betas=(0.5, 0.999))


def test_points_are_refused() -> None:
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        dcgan(spec_of(ring()))
