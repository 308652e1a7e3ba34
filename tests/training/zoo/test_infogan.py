from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from t2i.bundle import Bundle
from t2i.pipeline import Pipeline
from tests.training.conftest import squares
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import build_recipe, ring, spec_of
from tests.training.zoo.told import Told
from training.codes import LatentCode, ReadCode, ShowCode
from training.errors import TrainingError
from training.export_samples import export_pictures
from training.recipe import Recipe
from training.registry import find_recipe
from training.zoo.infogan import infogan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return infogan(spec_of(ring()), categories=(3, 2), continuous=2, width=4, noise_dim=3, **knobs)


CODE = LatentCode((3, 2), 2)


def test_codes_are_one_hot_parts_and_uniform_numbers() -> None:
    code = CODE.draw(batch_of(torch.zeros(2000, 2)))
    assert code.shape == (2000, 7)
    torch.testing.assert_close(code[:, :3].mean(0), torch.full((3,), 1 / 3), atol=0.04, rtol=0)
    torch.testing.assert_close(code[:, 3:5].sum(1), torch.ones(2000))
    numbers = code[:, 5:]
    assert numbers.min() >= -1 and numbers.max() < 1
    assert float(numbers.var()) == pytest.approx(1 / 3, abs=0.02)


def test_progress_is_shown_by_a_row_for_each_category_of_the_first_part() -> None:
    examples = small().examples
    assert examples is not None
    expected = [[*row, 1, 0, 0, 0] for row in torch.eye(3).tolist()]
    assert examples.tolist() == expected


def test_the_surprise_of_a_known_reading_is_known() -> None:
    code = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0, 0.5, -0.5]])
    read = torch.tensor([[0.0, math.log(2.0), 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, math.log(2.0)]])
    categorical, continuous = CODE.surprise(read, code)
    assert float(categorical) == pytest.approx(math.log(2.0) + math.log(2.0))
    # N(0.5; 0.5, 1) and N(-0.5; 0.5, 2): half of one deviation's square is 1/8.
    expected = math.log(2 * math.pi) + math.log(2.0) + 0.125
    assert float(continuous) == pytest.approx(expected)


def test_the_bound_is_the_whole_entropy_when_the_code_is_read_without_error() -> None:
    code = CODE.draw(batch_of(torch.zeros(16, 2)))
    read = torch.cat([60 * code[:, :5], code[:, 5:], torch.full((16, 2), -5.0)], dim=1)
    categorical, continuous = CODE.surprise(read, code)
    assert float(categorical) == pytest.approx(0.0, abs=1e-5)
    assert float(continuous) == pytest.approx(2 * (-5 + 0.5 * math.log(2 * math.pi)))


def test_losses_are_those_of_equation_6() -> None:
    recipe, batch = small(information=0.7, continuous_weight=0.3), batch_of(SAMPLES)
    told = Told(recipe)
    losses = losses_of(recipe, batch)
    (real, _), (fake, read), (mine, mine_read) = told.moves
    code = CODE.draw(batch)

    def information(outputs: torch.Tensor) -> torch.Tensor:
        categorical, continuous = CODE.surprise(outputs, code)
        return -(0.7 * categorical + 0.7 * 0.3 * continuous)

    value = torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()
    expected = -value - information(read)
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    expected = -torch.sigmoid(mine).log().mean() - information(mine_read)
    torch.testing.assert_close(losses["generator"].total.detach(), expected)


def test_the_information_term_has_its_gradient_in_the_generator() -> None:
    recipe, batch = small(), batch_of(SAMPLES)
    generator = recipe.networks["generator"]
    for_term = recipe.phases[1].loss(recipe.networks, batch)
    weight = generator.body[0].weight
    (whole,) = torch.autograd.grad(for_term.total, weight)
    plain = small(information=0.0)
    alone = plain.phases[1].loss(plain.networks, batch)
    (adversarial,) = torch.autograd.grad(alone.total, plain.networks["generator"].body[0].weight)
    assert not torch.allclose(whole, adversarial)


def test_q_is_a_head_on_the_trunk_of_d_which_the_term_trains() -> None:
    recipe, batch = small(), batch_of(SAMPLES)
    critic = recipe.networks["discriminator"]
    assert set(recipe.networks) == {"generator", "discriminator"}
    with torch.no_grad():
        fake = recipe.networks["generator"](CODE.draw(batch), torch.zeros(4, 3)).pictures[-1]
    terms = CODE.surprise(critic(fake).class_logits, CODE.draw(batch))
    sum(terms).backward()  # type: ignore[union-attr]
    assert critic.body[1].weight.grad.abs().sum() > 0
    assert critic.score.weight.grad is None


def test_no_label_is_looked_at() -> None:
    recipe = small()
    first, second = (
        losses_of(recipe, batch_of(SAMPLES, labels))["discriminator"].total
        for labels in (torch.tensor([0, 1, 2, 3]), None)
    )
    assert torch.equal(first, second)


def test_a_bundle_is_asked_with_the_code_and_sweeps_each_part(tmp_path: Path) -> None:
    data = squares()
    recipe = build_recipe(find_recipe("infogan"), data, categories=(3,), continuous=1)
    generator = recipe.networks["generator"].eval()
    # What an untrained generator draws is grey; give it something to tell codes apart by.
    generator.start.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    export_pictures(
        tmp_path / "bundle",
        name="codes",
        recipe="infogan",
        generator=generator,
        data=data,
        kimg=0.0,
        settings={"seed": 0, "data": "squares", "kimg": 1},
        asked_with=recipe.asked_with,
    )
    pipeline = Pipeline(Bundle.load(tmp_path / "bundle"))
    assert [part.kind for part in pipeline.info.code] == ["categorical", "continuous"]
    rows = pipeline.sweep("category 1", seed=4)
    assert len(rows.images) == 3
    along = pipeline.sweep("c1", steps=5, seed=4)
    seen = [image.encode("raw") for image in along.images]
    assert len(seen) == 5 and seen[0] != seen[-1]


@pytest.mark.parametrize(("categories", "continuous"), [((1,), 2), ((), 0), ((10,), -1)])
def test_a_code_that_says_nothing_is_refused(categories: tuple[int, ...], continuous: int) -> None:
    with pytest.raises(TrainingError, match="give"):
        LatentCode(categories, continuous)


@pytest.mark.parametrize("term", [ReadCode, ShowCode])
def test_terms_of_a_code_are_by_default_those_of_mnist(term: type[ReadCode]) -> None:
    made = term(1.0)
    assert (made.code, made.continuous_weight) == (LatentCode((10,), 2), 0.1)
    assert made.reads_classes
