import math

import pytest

from training.metrics.errors import MetricsError
from training.metrics.score import Score, averaged


def test_seeds_are_averaged_with_their_spread_and_each_is_noted() -> None:
    scores = {
        seed: Score("KID", value, floor, 9, spread=9.0, shuffled=floor, noted={"median": value})
        for seed, value, floor in ((0, 1.0, 0.5), (3, 4.0, 0.5), (5, 4.0, 0.2))
    }
    made = averaged(scores)
    assert (made.value, made.spread) == (3.0, pytest.approx(math.sqrt(2)))
    assert made.floor == made.shuffled == pytest.approx(0.4)
    assert made.noted == {"median": 3.0, "seed 0": 1.0, "seed 3": 4.0, "seed 5": 4.0}


def test_one_seed_keeps_its_spread_over_subsets() -> None:
    score = Score("KID", 1.0, None, 9, spread=0.25)
    assert averaged({0: score}) is score


def test_scores_that_were_made_differently_are_not_averaged() -> None:
    with pytest.raises(MetricsError, match="differ"):
        averaged({0: Score("KID", 1.0, None, 9), 1: Score("KID", 1.0, None, 10)})
    with pytest.raises(MetricsError, match="no score"):
        averaged({})


def test_a_score_of_an_earlier_version_is_read_without_its_shuffled_figure() -> None:
    score = Score("R-precision", 0.5, 0.75, 9, shuffled=0.125, better="higher")
    values = score.as_json()
    assert Score.from_json(values) == score and "shuffled 0.125" in str(score)
    del values["shuffled"]
    assert Score.from_json(values).shuffled is None
