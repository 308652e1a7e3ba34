from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import squares
from training.effort import READING, SEEING
from training.prepare import Options, learning_for


@pytest.mark.parametrize(
    ("pictures", "reads", "sees"), [(30, 300, 200), (1942, 380, 228), (60_000, 2500, 1500)]
)
def test_more_pictures_are_learned_from_for_longer_within_bounds(
    pictures: int, reads: int, sees: int
) -> None:
    assert (READING.steps(pictures), SEEING.steps(pictures)) == (reads, sees)


@pytest.mark.parametrize(
    ("asked", "steps"),
    [((None, None), (300, 200)), ((0, None), (0, 200)), ((7, 3), (7, 3)), ((None, 3), (300, 3))],
)
def test_a_run_takes_the_steps_that_were_asked_for_and_else_what_its_pictures_ask_for(
    asked: tuple[int | None, int | None], steps: tuple[int, int]
) -> None:
    reads, sees = asked
    options = Options("photos", Path("runs/x"), caption_steps=reads, matcher_steps=sees)
    taken = learning_for(options, squares())
    assert (taken.caption_steps, taken.matcher_steps) == steps


def test_eyes_that_nobody_names_are_learned_only_from_many_pictures_that_are_described() -> None:
    options, few = Options("photos", Path("runs/x")), squares(resolution=64)
    marked = replace(few, attributes=np.zeros((len(few), 1), np.int8), attribute_sizes=(1,))
    assert learning_for(options, few).eyes == learning_for(options, marked).eyes == "lite1"
    assert learning_for(options, squares(resolution=32)).eyes == "learned"
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    many = replace(
        squares(10_000, resolution=4), pictures=np.broadcast_to(picture, (10_000, 64, 64, 3))
    )
    assert learning_for(options, many).eyes == "lite1"
    marked = replace(many, attributes=np.zeros((len(many), 1), np.int8), attribute_sizes=(1,))
    assert learning_for(options, marked).eyes == "learned"
    assert learning_for(replace(options, eyes="both"), marked).eyes == "both"
