import math

import numpy as np
import pytest
import torch
from torch import Tensor

from training.metrics.errors import MetricsError
from training.metrics.mixtures import count_modes, mixture_modes, stacked_modes

RING = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)


def _ring(count: int, modes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return RING[rng.integers(modes, size=count)] + 0.05 * rng.normal(size=(count, 2))


def test_the_mixture_itself_covers_all_and_leaves_one_percent_out() -> None:
    measured = mixture_modes(_ring(20_000, 8), RING, 0.05)
    assert (measured.covered, measured.well_covered, measured.total) == (8, 8, 8)
    assert measured.good == pytest.approx(1 - math.exp(-4.5), abs=0.003)
    assert measured.kl < 0.001


def test_three_modes_of_eight_are_three_with_the_divergence_of_three_from_eight() -> None:
    measured = mixture_modes(_ring(3000, 3), RING, 0.05, real=_ring(3000, 8, seed=1))
    assert measured.covered == measured.well_covered == 3
    assert measured.kl == pytest.approx(math.log(8 / 3), abs=0.01)
    assert measured.floor is not None and measured.floor.covered == 8
    assert "modes 3 of 8" in str(measured) and "real 8" in str(measured)
    assert measured.as_json()["floor"]["covered"] == 8


def test_one_stray_sample_covers_a_mode_but_not_well() -> None:
    samples = np.concatenate([np.repeat(RING[:1], 99, axis=0), RING[1:2]])
    measured = mixture_modes(samples, RING, 0.05, fraction=0.2)
    assert (measured.covered, measured.well_covered) == (2, 1)
    assert measured.histogram[:2] == (99, 1)


def test_samples_count_up_to_three_deviations_and_not_beyond() -> None:
    samples = np.array([[1.149, 0.0], [1.151, 0.0], [0.0, 0.0], [1.0, 0.0]])
    measured = mixture_modes(samples, RING, 0.05)
    assert measured.good == 0.5
    assert measured.histogram[0] == 2


def test_nothing_that_lands_has_an_infinite_divergence_and_no_word_in_json() -> None:
    measured = mixture_modes(np.zeros((3, 2)), RING, 0.05)
    assert (measured.covered, measured.good) == (0, 0.0)
    assert measured.kl == math.inf and measured.as_json()["kl"] is None


def test_weights_of_the_mixture_are_what_the_histogram_is_compared_with() -> None:
    even = count_modes(np.array([0, 0, 0, 1]), 2, weights=np.array([3.0, 1.0]))
    assert even.kl == 0
    uneven = count_modes(np.array([0, 0, 0, 1]), 2)
    assert uneven.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_stacked_digits_are_read_one_channel_at_a_time_in_order() -> None:
    def read(grey: Tensor) -> Tensor:
        assert grey.shape[-1] == 1
        return torch.nn.functional.one_hot(grey[:, 0, 0, 0].long(), 10).float()

    pictures = np.zeros((3, 4, 4, 3), np.uint8)
    pictures[0] = (1, 2, 3)
    pictures[1] = (3, 2, 1)
    pictures[2] = (1, 2, 3)
    measured = stacked_modes(read, pictures, real=pictures[:1])
    assert (measured.covered, measured.total) == (2, 1000)
    assert measured.histogram[123] == 2 and measured.histogram[321] == 1
    assert measured.kl == pytest.approx(2 / 3 * math.log(2000 / 3) + 1 / 3 * math.log(1000 / 3))
    assert measured.floor is not None and measured.floor.covered == 1


def test_samples_of_another_dimension_and_empty_ones_are_refused() -> None:
    with pytest.raises(MetricsError, match="samples"):
        mixture_modes(np.zeros((3, 3)), RING, 0.05)
    with pytest.raises(MetricsError, match="modes"):
        mixture_modes(np.zeros((0, 2)), RING, 0.05)
