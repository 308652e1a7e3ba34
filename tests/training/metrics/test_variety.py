from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.metrics.errors import MetricsError
from training.metrics.features import Lite0
from training.metrics.variety import feature_distance, mean_variety, ms_ssim_distance


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return Lite0(resize=64)


def _discs(count: int, seed: int, spread: float) -> NDArray[np.uint8]:
    """Pictures of one red disc each, whose place varies by `spread` pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    pictures = np.full((count, 64, 64, 3), 200, np.uint8)
    for picture in pictures:
        centre = 32 + spread * rng.uniform(-1, 1, 2)
        picture[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 144] = (200, 30, 30)
    return pictures


def test_one_picture_drawn_again_and_again_has_no_variety(lite0: Lite0) -> None:
    same = np.repeat(_discs(1, 0, 0.0), 4, axis=0)[None]
    features, pixels = mean_variety(same, lite0)
    assert features == pytest.approx(0, abs=1e-4)
    assert pixels == pytest.approx(0, abs=1e-4)


def test_both_distances_grow_with_what_varies(lite0: Lite0) -> None:
    still, moved = _discs(6, 1, 2.0)[None], _discs(6, 1, 12.0)[None]
    still_features, still_pixels = mean_variety(still, lite0)
    moved_features, moved_pixels = mean_variety(moved, lite0)
    assert moved_features > 1.5 * still_features > 0
    assert moved_pixels > 1.5 * still_pixels > 0


def test_feature_distance_is_the_mean_over_pairs_depths_and_places(lite0: Lite0) -> None:
    group = torch.from_numpy(_discs(3, 2, 10.0))
    expected = []
    for level in lite0.maps(group):
        units = level / level.norm(dim=1, keepdim=True)
        expected += [
            (units[i] - units[j]).square().sum(dim=0).mean().item()
            for i, j in combinations(range(3), 2)
        ]
    assert feature_distance(lite0, group) == pytest.approx(np.mean(expected), rel=1e-3)


def test_ms_ssim_distance_of_a_pair_does_not_depend_on_its_order() -> None:
    group = torch.from_numpy(_discs(2, 3, 10.0))
    assert ms_ssim_distance(group) == pytest.approx(ms_ssim_distance(group.flip(0)), rel=1e-5)


def test_ms_ssim_refuses_pictures_too_small_for_its_scales() -> None:
    with pytest.raises(MetricsError, match="resolution"):
        ms_ssim_distance(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))


def test_variety_needs_a_pair_of_pictures(lite0: Lite0) -> None:
    with pytest.raises(MetricsError, match="groups"):
        mean_variety(np.zeros((3, 1, 64, 64, 3), np.uint8), lite0)
