import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.metrics.errors import MetricsError
from training.metrics.manifold import manifold, nearest_distances


def _by_hand(real: NDArray[np.float64], other: NDArray[np.float64], k: int) -> tuple[float, ...]:
    """Both papers' definitions, sample by sample."""

    def radius(sample: NDArray[np.float64], own: NDArray[np.float64]) -> float:
        return float(sorted(np.linalg.norm(own - sample, axis=1))[k])

    real_radii = [radius(each, real) for each in real]
    other_radii = [radius(each, other) for each in other]
    pairs = [
        [np.linalg.norm(y - x) <= r for x, r in zip(real, real_radii, strict=True)] for y in other
    ]
    precision = np.mean([any(row) for row in pairs])
    density = sum(sum(row) for row in pairs) / (k * len(other))
    coverage = np.mean([any(row[i] for row in pairs) for i in range(len(real))])
    recall = np.mean(
        [any(np.linalg.norm(x - y) <= r for y, r in zip(other, other_radii, strict=True))
         for x in real]
    )  # fmt: skip
    return float(precision), float(recall), float(density), float(coverage)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_four_are_what_their_definitions_give_sample_by_sample(k: int) -> None:
    rng = np.random.default_rng(k)
    real, other = rng.normal(size=(40, 3)), 0.6 * rng.normal(size=(30, 3)) + 0.5
    measured = manifold(torch.from_numpy(real), torch.from_numpy(other), neighbours=k)
    found = (measured.precision, measured.recall, measured.density, measured.coverage)
    assert found == pytest.approx(_by_hand(real, other, k))


def test_one_good_picture_again_and_again_is_precise_and_covers_nothing() -> None:
    real = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    measured = manifold(real, real[:1] + 1e-3 * torch.arange(20.0)[:, None], neighbours=3)
    assert measured.precision == 1
    assert measured.recall < 0.1 and measured.coverage < 0.1


def test_sets_far_apart_share_nothing() -> None:
    real = torch.randn(30, 2)
    measured = manifold(real, real + 100)
    assert (measured.precision, measured.recall, measured.density, measured.coverage) == (0,) * 4


def test_a_sample_is_no_neighbour_of_itself_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.metrics.manifold._CHUNK", 7)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)).double()
    distances, rows = nearest_distances(x, x, 2, skip_self=True)
    for index in range(20):
        order = (x - x[index]).norm(dim=1).argsort()
        assert rows[index].tolist() == order[1:3].tolist()
    assert (distances > 0).all()


@pytest.mark.parametrize("k", [0, 10])
def test_more_neighbours_than_samples_are_refused(k: int) -> None:
    with pytest.raises(MetricsError, match="neighbours"):
        manifold(torch.randn(10, 2), torch.randn(20, 2), neighbours=k)
