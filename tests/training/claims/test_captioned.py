from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.zoo.samples import captioned_spec
from training.claims.captioned import Birds, operations
from training.claims.trial import draw
from training.recipe import Recipe
from training.registry import find_recipe

SMALL = {"width": 4, "generator_width": 4, "noise_dim": 5}
DATA: Any = SimpleNamespace(resolution=16)


def recipe(key: str, **knobs: object) -> Recipe:
    torch.manual_seed(0)
    return find_recipe(key).build(captioned_spec(), **SMALL, **knobs)


def test_r_precision_shares_out_what_fits_equally_well() -> None:
    said = np.array([[0, 0], [1, -1], [1, 1]], np.int8)
    read = np.array([[0, 0], [1, 1], [1, 1]], np.int8)
    birds = Birds(
        data=DATA,
        held_out=SimpleNamespace(claims=said),  # type: ignore[arg-type]
        judge=DATA,
        classifier=SimpleNamespace(predict=lambda pictures: read),  # type: ignore[arg-type]
        asked=np.arange(3),
    )
    # The first is alone right; each of the others fits the other's caption as well.
    assert birds.r_precision_percent(np.empty((3, 1, 1, 3), np.uint8)) == pytest.approx(200 / 3)


def test_operations_add_up_over_stages_and_leave_the_networks_as_they_were() -> None:
    knobs = {"factor": 2, "conditioning_dim": 4}
    stages = recipe("stackgan", stage_kimg=1.0, **knobs)
    before = {k: v.clone() for k, v in stages.networks["generator"].state_dict().items()}
    both = operations(stages, DATA, 2.0)
    first = operations(recipe("stackgan", stage_kimg=9.0, **knobs), DATA, 1.0)
    second = operations(recipe("stackgan", stage_kimg=0.0, **knobs), DATA, 1.0)
    assert both == pytest.approx(first + second) and second > first > 0
    for name, value in stages.networks["generator"].state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_penalty_is_counted_with_its_second_gradient() -> None:
    lazy = recipe("df-gan", penalty_every=2)
    first, second = lazy.phases
    # At a step between two penalties there is none.
    between = dataclasses.replace(
        first, loss=lambda nets, batch: first.loss(nets, dataclasses.replace(batch, step=1))
    )
    without = dataclasses.replace(lazy, phases=(between, second))
    assert operations(lazy, DATA, 1.0) > 1.2 * operations(without, DATA, 1.0)


def test_a_coarser_stage_can_be_drawn() -> None:
    generator = recipe("stackgan", factor=2, conditioning_dim=4).networks["generator"].eval()
    asked = torch.randn(3, 6)
    assert draw(generator, 3, embedding=asked, batch=2).shape == (3, 3, 16, 16)
    assert draw(generator, 3, embedding=asked, stage=0).shape == (3, 3, 8, 8)
