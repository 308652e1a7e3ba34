from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from t2i.networks.attention import SelfAttention2d
from t2i.networks.conditional_norm import ConditionalBatchNorm2d
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec
from training.zoo.sagan import sagan

SMALL = {"width": 4, "generator_width": 4, "noise_dim": 3}


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    return sagan(spec_of(squares()), **{**SMALL, **changes})


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("labels", [False, True])
def test_losses_are_the_hinge_of_equation_4(labels: bool) -> None:
    recipe = small(labels=labels)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(pictures(), torch.tensor([0, 1, 2, 0])))
    real, fake, mine = scored.logits
    expected = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.mean())


def test_both_players_attend_and_start_without() -> None:
    for network in small().networks.values():
        layers = [m for m in network.modules() if isinstance(m, SelfAttention2d)]
        assert len(layers) == 1
        assert float(layers[0].gamma.detach()) == 0.0


def test_gamma_is_what_the_first_step_of_attention_teaches() -> None:
    recipe = small()
    for name in ("discriminator", "generator"):
        # A fresh phase each: gradients of the other player's phase are cleared.
        phase = next(phase for phase in recipe.phases if phase.player == name)
        recipe.networks["generator"].requires_grad_(name == "generator")
        recipe.networks["discriminator"].requires_grad_(name == "discriminator")
        losses = phase.loss(recipe.networks, batch_of(pictures(), torch.tensor([0, 1, 2, 0])))
        losses.total.backward()  # type: ignore[no-untyped-call]
        layers = [m for m in recipe.networks[name].modules() if isinstance(m, SelfAttention2d)]
        assert layers[0].gamma.grad is not None and float(layers[0].gamma.grad) != 0.0


def test_attention_can_be_left_out() -> None:
    for network in small(attention=0).networks.values():
        assert not any(isinstance(m, SelfAttention2d) for m in network.modules())


def test_weights_of_both_players_are_normalised_but_not_the_norms_gains() -> None:
    for network in small().networks.values():
        norms = [m for m in network.modules() if isinstance(m, ConditionalBatchNorm2d)]
        gains = {inner for norm in norms for inner in norm.modules()}
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert parametrize.is_parametrized(module) == (module not in gains)
    assert gains == set()
    critic_score = small().networks["discriminator"].score
    assert isinstance(critic_score, nn.Module) and parametrize.is_parametrized(critic_score)


def test_the_players_learn_at_two_time_scales() -> None:
    critic, generator = sagan(Spec(32), labels=False, width=4, generator_width=4).phases
    assert critic.optimizer == Adam(4e-4, betas=(0.0, 0.9)) and critic.steps == 1
    assert generator.optimizer == Adam(1e-4, betas=(0.0, 0.9))


def test_labels_or_attention_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        sagan(spec_of(ring()))
    with pytest.raises(TrainingError, match="the data has none"):
        sagan(Spec(32))
    with pytest.raises(TrainingError, match="attention: no features have the side 32; give one of"):
        sagan(Spec(32), labels=False, attention=1)
