import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from training.metrics.errors import MetricsError
from training.metrics.fidelity import fid, kid


def _features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 12, generator=generator) + shift


def _unbiased_mmd(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Bińkowski et al., 2018, eq. 4, written out term by term."""

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m, n = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
    within_y = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
    across = sum(kernel(a, b) for a in x for b in y)
    return within_x / (m * (m - 1)) + within_y / (n * (n - 1)) - 2 * across / (m * n)


def test_kid_of_one_whole_subset_is_the_unbiased_mmd_of_the_paper() -> None:
    real, other = _features(40, 0), _features(40, 1, shift=0.3)
    measured = kid(real, other, subsets=2, subset_size=40)
    expected = _unbiased_mmd(real.double().numpy(), other.double().numpy())
    assert measured.value == pytest.approx(expected, rel=1e-3)
    assert measured.spread == pytest.approx(0.0, abs=1e-5)


def test_kid_is_near_zero_for_two_samples_of_one_distribution_and_grows_with_the_shift() -> None:
    real = _features(400, 0)
    floor = kid(real, _features(400, 1), subset_size=200)
    near = kid(real, _features(400, 2, shift=0.2), subset_size=200)
    far = kid(real, _features(400, 3, shift=0.5), subset_size=200)
    assert abs(floor.value) < 0.02
    assert floor.value < near.value < far.value


def test_kid_repeats_with_its_seed_and_leaves_the_global_random_state_alone() -> None:
    real, other = _features(100, 0), _features(100, 1)
    torch.manual_seed(5)
    first = kid(real, other, subset_size=50, seed=3)
    drawn = torch.rand(1)
    assert kid(real, other, subset_size=50, seed=3) == first
    assert kid(real, other, subset_size=50, seed=4) != first
    torch.manual_seed(5)
    assert torch.rand(1) == drawn


def test_kid_tells_its_sample_counts() -> None:
    measured = kid(_features(60, 0), _features(50, 1), subsets=7, subset_size=20)
    assert (measured.real, measured.other) == (60, 50)
    assert (measured.subsets, measured.subset_size) == (7, 20)


@pytest.mark.parametrize("subset_size", [1, 51])
def test_kid_refuses_subsets_that_cannot_be_drawn(subset_size: int) -> None:
    with pytest.raises(MetricsError, match="subset_size"):
        kid(_features(60, 0), _features(50, 1), subset_size=subset_size)


def test_fid_is_the_frechet_distance_of_two_gaussians() -> None:
    real, other = _features(300, 0), 1.5 * _features(300, 1, shift=0.4)
    x, y = real.double().numpy(), other.double().numpy()
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    mixed = sqrtm(a @ b).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * mixed)
    assert fid(real, other).value == pytest.approx(float(expected), rel=1e-4)


def test_fid_refuses_a_single_picture() -> None:
    with pytest.raises(MetricsError, match="count"):
        fid(_features(1, 0), _features(10, 1))
