import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from training.metrics.clusters import best_assignment, cluster_error
from training.metrics.errors import MetricsError


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (10, 10), (3, 7), (7, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_assignment_gains_as_much_as_scipys(shape: tuple[int, int], seed: int) -> None:
    table = np.random.default_rng(seed).integers(0, 30, shape)
    chosen = best_assignment(table)
    taken = chosen[chosen >= 0]
    assert len(set(taken.tolist())) == len(taken) == min(shape)
    rows, columns = linear_sum_assignment(table, maximize=True)
    gain = sum(table[row, column] for row, column in enumerate(chosen) if column >= 0)
    assert gain == table[rows, columns].sum()


def test_codes_that_are_classes_under_other_numbers_have_no_error() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    measured = cluster_error((labels + 1) % 3, labels, code_count=3, class_count=3)
    assert measured.value == 0
    assert measured.classes == (2, 0, 1)
    assert measured.chance == pytest.approx(2 / 3)


def test_one_to_one_gives_a_split_class_one_code_and_majority_gives_it_both() -> None:
    codes = np.array([0, 0, 1, 1, 2, 2])
    labels = np.array([0, 0, 0, 0, 1, 1])
    single = cluster_error(codes, labels, code_count=3, class_count=2)
    assert single.value == pytest.approx(2 / 6)
    assert sorted(single.classes) == [-1, 0, 1]
    several = cluster_error(codes, labels, code_count=3, class_count=2, assignment="majority")
    assert several.value == 0
    assert several.classes == (0, 0, 1)


def test_codes_are_matched_on_other_samples_than_those_that_are_judged() -> None:
    measured = cluster_error(
        np.array([0, 0, 1, 1]), np.array([1, 1, 0, 1]), code_count=2, class_count=2,
        match_codes=np.array([0, 1]), match_labels=np.array([0, 1]),
    )  # fmt: skip
    assert measured.classes == (0, 1)
    assert measured.value == 0.75
    assert measured.matched_on == 2
    assert "0.7500" in str(measured) and measured.as_json()["classes"] == [0, 1]


def test_a_code_that_is_out_of_range_is_refused() -> None:
    with pytest.raises(MetricsError, match="codes"):
        cluster_error(np.array([0, 3]), np.array([0, 1]), code_count=3, class_count=2)
    with pytest.raises(MetricsError, match="match_labels"):
        cluster_error(
            np.array([0]), np.array([0]), code_count=1, class_count=1, match_codes=np.array([0])
        )
