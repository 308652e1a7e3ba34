from __future__ import annotations

import random

import pytest

from server.engine.cost import CostModel, Spread


def taught(*batches: tuple[int, float]) -> CostModel:
    model = CostModel()
    for pictures, seconds in batches:
        model.learn(pictures, seconds, 0.0)
    return model


def test_two_sizes_are_enough_to_tell_the_fixed_part_from_the_slope() -> None:
    model = taught(*[(1, 0.011), (1, 0.011), (16, 0.026), (16, 0.026)] * 3)
    assert model.run(8) == pytest.approx(0.018, rel=0.02)
    assert model.fixed == pytest.approx(0.010, rel=0.05)
    assert model.slope == pytest.approx(0.001, rel=0.05)


def test_a_noisy_line_is_found() -> None:
    chance, model = random.Random(0), CostModel()
    for _ in range(200):
        n = chance.randint(1, 16)
        model.learn(n, (0.008 + 0.0005 * n) * chance.lognormvariate(0, 0.05), 0.0)
    assert model.run(16) == pytest.approx(0.016, rel=0.05)
    assert model.run(1) == pytest.approx(0.0085, rel=0.08)


def test_batches_of_one_size_leave_the_slope_as_it_was() -> None:
    model = taught((1, 0.011), (16, 0.026), (1, 0.011), (16, 0.026))
    slope = model.slope
    for _ in range(200):
        model.learn(16, 0.026, 0.0)
    assert model.run(16) == pytest.approx(0.026, rel=0.01)
    assert model.slope == pytest.approx(slope, rel=0.1)


def test_neither_part_is_ever_negative() -> None:
    falling = taught((1, 0.030), (16, 0.010), (1, 0.030), (16, 0.010))
    assert falling.slope >= 0
    assert falling.fixed >= 0
    steep = taught((1, 0.001), (2, 0.010), (1, 0.001), (2, 0.010))
    assert steep.fixed >= 0
    assert steep.run(0) >= 0


def test_one_stall_of_the_machine_moves_the_estimate_little() -> None:
    model = taught(*[(4, 0.010)] * 20)
    model.learn(4, 3.0, 0.0)
    assert model.run(4) < 0.013


def test_a_machine_that_became_slower_is_believed_after_some_batches() -> None:
    model = taught(*[(4, 0.010)] * 20)
    for _ in range(60):
        model.learn(4, 0.050, 0.0)
    assert model.run(4) == pytest.approx(0.050, rel=0.05)


def test_even_batches_need_no_margin_and_uneven_ones_do() -> None:
    assert taught(*[(4, 0.010)] * 30).margin < 0.0001
    assert taught(*[(4, 0.008), (4, 0.012)] * 30).margin > 0.004


def test_the_largest_batch_is_the_inverse_of_the_time_it_takes() -> None:
    model = taught(*[(1, 0.011), (16, 0.026)] * 20)
    for pictures in (1, 5, 16):
        seconds = model.at_most(pictures, 0.0)
        assert model.largest(seconds, 0.0) == pytest.approx(pictures, rel=0.01)
    assert model.largest(0.001, 0.0) < 0


def test_without_knowledge_nothing_is_too_large() -> None:
    model = CostModel()
    assert model.run(16) == 0
    assert model.largest(0.001, 0.0) == float("inf")


def test_old_knowledge_fades_so_that_a_wrong_estimate_is_tried_again() -> None:
    model = taught((1, 10.0))
    assert model.at_most(1, 20.0) >= 10.0, "two batches of that length would not be over yet"
    assert model.at_most(1, 40.0) < 0.1


def test_after_a_pause_one_batch_puts_an_estimate_right_that_an_overload_left() -> None:
    model = taught(*[(4, 0.4)] * 30)
    assert model.at_most(1, 0.3) > 0.09
    model.learn(1, 0.012, 4.0)
    assert model.run(1) == pytest.approx(0.012)
    assert model.at_most(1, 4.0) < 0.07
    quick = taught(*[(4, 0.4)] * 30)
    quick.learn(1, 0.012, 0.3)
    assert quick.run(4) > 0.3, "one of many, as long as they are fresh"


def test_the_upper_end_of_a_spread_is_above_nearly_all_values() -> None:
    chance, spread = random.Random(0), Spread()
    values = [chance.uniform(0.001, 0.003) for _ in range(500)]
    for value in values:
        spread.learn(value)
    assert spread.mean == pytest.approx(0.002, rel=0.2)
    assert sum(value > spread.upper for value in values) < 5
