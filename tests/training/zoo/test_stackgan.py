from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks import Scores, StackGenerator
from tests.training.conftest import squares
from tests.training.zoo.moves import losses_of
from tests.training.zoo.samples import (
    captioned_batch,
    captioned_spec,
    ring,
    spec_of,
    trainer_of,
)
from training.errors import TrainingError
from training.objectives import conditioning_kl
from training.recipe import Recipe
from training.registry import Spec
from training.stages import at_side
from training.zoo.stackgan import stackgan


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    knobs = {"width": 4, "generator_width": 4, "noise_dim": 5}
    return stackgan(captioned_spec(), **{**knobs, "conditioning_dim": 4, "factor": 2, **changes})


def generator_of(recipe: Recipe) -> StackGenerator:
    generator = recipe.networks["generator"]
    assert isinstance(generator, StackGenerator)
    return generator


@pytest.mark.parametrize(("stage", "critic"), [("1", "discriminator-1"), ("2", "discriminator")])
def test_each_stage_has_the_losses_of_the_three_pairs_and_the_divergence(
    stage: str, critic: str
) -> None:
    recipe, batch = small(kl_weight=3.0), captioned_batch()
    drawer: nn.Module = generator_of(recipe).first if stage == "1" else generator_of(recipe)
    said: list[Tensor] = []
    shown: list[Tensor] = []
    read: list[Tensor] = []
    drawn = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], scores: Scores) -> None:
        shown.append(given[0])
        read.append(given[1])
        said.append(scores.logits.detach())

    recipe.networks[critic].register_forward_hook(keep)
    drawer.register_forward_hook(lambda module, given, out: drawn.append(out))
    losses = losses_of(recipe, batch)
    real, fake, mine = said
    right, wrong = real.split(len(batch))
    expected = F.softplus(-right).mean()
    expected = expected + 0.5 * (F.softplus(wrong).mean() + F.softplus(fake).mean())
    torch.testing.assert_close(losses[f"discriminator-{stage}"].total.detach(), expected)
    # Of Stage-I the last two drawings are those beneath Stage-II.
    move = drawn[1]
    kl = conditioning_kl(move.mu, move.log_sigma).detach()
    expected = F.softplus(-mine).mean() + 3.0 * kl
    torch.testing.assert_close(losses[f"generator-{stage}"].total.detach(), expected)
    assert torch.equal(read[0], torch.cat([batch.right, batch.wrong]))
    assert all(torch.equal(captions, batch.right) for captions in read[1:])
    side = 8 if stage == "1" else 16
    assert torch.equal(shown[0], at_side(batch.pictures, side))


def test_stage_two_moves_neither_weights_nor_statistics_of_stage_one() -> None:
    recipe, batch = small(), captioned_batch()
    first = generator_of(recipe).first
    before = {name: value.clone() for name, value in first.state_dict().items()}
    phase = next(each for each in recipe.phases if each.name == "generator-2")
    phase.loss(recipe.networks, batch).total.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in first.parameters())
    assert first.training
    for name, value in first.state_dict().items():
        assert torch.equal(before[name], value), name


def test_stages_learn_in_turn(tmp_path: Path) -> None:
    recipe = small(stage_kimg=0.016, batch_size=8)
    run = trainer_of(recipe, squares(), tmp_path)
    moved = []
    for _ in range(4):
        before = {k: v.clone() for k, v in generator_of(recipe).named_parameters()}
        run.play_round()
        now = dict(generator_of(recipe).named_parameters())
        moved.append({k.split(".")[0] for k, v in now.items() if not torch.equal(v, before[k])})
    assert moved[:2] == [{"first"}] * 2
    assert moved[2:] == [{"augment", "look", "body"}] * 2


def test_each_stage_begins_with_the_full_rate() -> None:
    recipe = small(stage_kimg=1000.0)
    first, second = (recipe.phases[place].optimizer.schedule for place in (0, 2))
    assert first is not None and second is not None
    assert [first(kimg) for kimg in (0.0, 899.9, 900.1)] == [1.0, 1.0, 0.5]
    assert [second(kimg) for kimg in (1000.0, 1899.0, 1900.0)] == [1.0, 1.0, 0.5]


def test_conditioning_is_drawn_around_the_caption_in_each_stage_apart() -> None:
    generator = generator_of(small()).eval()
    captions, noise, around = torch.randn(2, 6), torch.randn(2, 5), torch.randn(2, 8)
    small_one, large = generator(captions, noise, around).pictures
    late = around.clone()
    late[:, 4:] += 1.0
    again = generator(captions, noise, late).pictures
    assert torch.equal(small_one, again[0]) and not torch.equal(large, again[1])
    mean = generator(captions, noise).pictures[-1]
    torch.testing.assert_close(mean, generator(captions, noise, torch.zeros(2, 8)).pictures[-1])


def test_data_and_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TrainingError, match="16 pixels are not 3 times a smaller side"):
        small(factor=3)
    with pytest.raises(TrainingError, match="the data has none"):
        stackgan(Spec(32))
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        stackgan(spec_of(ring()))
