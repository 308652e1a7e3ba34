from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from t2i.networks import MlpCritic, TextGenerator
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import build_recipe, ring, spec_of, trainer_of
from training.architectures import ARCHITECTURES
from training.data.characters import characters
from training.errors import TrainingError
from training.optimizers import Adam
from training.prepare import sheet_of
from training.registry import find_recipe
from training.zoo.wgan_gp import wgan_gp

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def test_the_critics_loss_is_equation_3() -> None:
    recipe = wgan_gp(spec_of(ring()), penalty=7.0, width=4, noise_dim=3)
    scored = Scored(recipe)
    found = losses_of(recipe, batch_of(SAMPLES))
    real, fake, _, mine = scored.logits
    critic = found["discriminator"]
    expected = fake.mean() - real.mean() + 7.0 * critic.parts["D/gradient_penalty"]
    torch.testing.assert_close(critic.total.detach(), expected)
    torch.testing.assert_close(found["generator"].total.detach(), -mine.mean())


def test_the_penalty_is_that_of_the_slope_of_a_linear_critic() -> None:
    recipe = wgan_gp(spec_of(ring()), width=4, noise_dim=3)
    critic = recipe.networks["discriminator"]
    assert isinstance(critic, MlpCritic)
    with torch.no_grad():
        # Of D(x) = 3 x₁ + 4 x₂, through leaky units that all stay on their positive side.
        for module in critic.modules():
            if isinstance(module, nn.Linear):
                module.weight.zero_()
                module.bias.fill_(100.0)
                module.weight[0, 0] = 1.0
                if module.out_features > 1:
                    module.weight[1, 1] = 1.0
        critic.score.weight[0, :2] = torch.tensor([3.0, 4.0])
    critic_phase = recipe.phases[0]
    parts = critic_phase.loss(recipe.networks, batch_of(SAMPLES)).parts
    assert parts["D/gradient_penalty"].item() == pytest.approx(16.0, rel=1e-4)


def test_the_papers_settings_are_the_defaults() -> None:
    recipe = wgan_gp(spec_of(squares()), width=4)
    critic, generator = recipe.phases
    assert critic.steps == 5
    assert critic.optimizer == generator.optimizer == Adam(1e-4, betas=(0.0, 0.9))
    norms = [m for m in recipe.networks["discriminator"].modules() if isinstance(m, _BatchNorm)]
    assert not norms


def test_the_learning_rate_falls_to_zero_where_asked() -> None:
    schedule = wgan_gp(spec_of(ring()), decay_kimg=10.0).phases[0].optimizer.schedule
    assert schedule is not None
    assert [schedule(kimg) for kimg in (0.0, 5.0, 20.0)] == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_setting_moves_every_architecture(architecture: str) -> None:
    data = squares()
    recipe = wgan_gp(spec_of(data), architecture=architecture, width=2, noise_dim=3)
    pictures = torch.from_numpy(data.pictures[:4].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    for found in losses_of(recipe, batch_of(pictures)).values():
        assert torch.isfinite(found.total)
    critic, generator = recipe.phases
    assert critic.optimizer == generator.optimizer == Adam(1e-4, betas=(0.0, 0.9))


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(TrainingError, match="give one of residual, dcgan, constant"):
        wgan_gp(spec_of(squares()), architecture="resnet")


TEXTS = characters(length=8, count=64)


def test_the_critic_of_texts_judges_one_hot_characters_by_equation_3() -> None:
    torch.manual_seed(0)
    recipe = wgan_gp(spec_of(TEXTS), penalty=7.0, width=4, noise_dim=3)
    batch = batch_of(torch.from_numpy(TEXTS.samples[:4]))
    found = losses_of(recipe, batch)["discriminator"]
    generator, critic = recipe.networks["generator"], recipe.networks["discriminator"]
    real = F.one_hot(batch.pictures, len(TEXTS.vocabulary)).float()
    noise = batch.noise.normal("discriminator", 3)
    fake = generator(torch.zeros(4, 0), noise).pictures[-1]
    expected = critic(fake).logits.mean() - critic(real).logits.mean()
    expected = expected + 7.0 * found.parts["D/gradient_penalty"]
    torch.testing.assert_close(found.total, expected)


def test_texts_are_drawn_as_chances_and_read_as_their_likeliest_characters(tmp_path: Path) -> None:
    recipe = build_recipe(find_recipe("wgan-gp"), TEXTS)
    run = trainer_of(recipe, TEXTS, tmp_path / "run", kimg=0.032)
    list(run.train())
    generator = run.average
    assert isinstance(generator, TextGenerator)
    chances = generator(torch.zeros(5, 0), torch.randn(5, generator.noise_dim)).pictures[-1]
    assert chances.shape == (5, 8, len(TEXTS.vocabulary))
    torch.testing.assert_close(chances.sum(dim=2), torch.ones(5, 8))
    sheet_of(run.recipe, TEXTS).save(generator, tmp_path / "sheet.png")
    lines = (tmp_path / "sheet.txt").read_text().splitlines()
    assert all(len(line) == 8 and set(line) <= set(TEXTS.vocabulary) for line in lines)
