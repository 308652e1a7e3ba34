from pathlib import Path

import pytest

from training.effort import READING, SEEING
from training.prepare import Options, with_steps


@pytest.mark.parametrize(
    ("pictures", "reads", "sees"), [(30, 300, 200), (1942, 380, 228), (60_000, 2500, 1500)]
)
def test_more_pictures_are_learned_from_for_longer_within_bounds(
    pictures: int, reads: int, sees: int
) -> None:
    assert (READING.steps(pictures), SEEING.steps(pictures)) == (reads, sees)


@pytest.mark.parametrize(
    ("asked", "steps"),
    [((None, None), (380, 228)), ((0, None), (0, 228)), ((7, 3), (7, 3)), ((None, 3), (380, 3))],
)
def test_a_run_takes_the_steps_that_were_asked_for_and_else_what_its_pictures_ask_for(
    asked: tuple[int | None, int | None], steps: tuple[int, int]
) -> None:
    reads, sees = asked
    options = Options("photos", Path("runs/x"), caption_steps=reads, matcher_steps=sees)
    taken = with_steps(options, 1942)
    assert (taken.caption_steps, taken.matcher_steps) == steps
