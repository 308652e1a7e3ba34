import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import correlate1d
from torch import Tensor

from training.metrics.errors import MetricsError
from training.metrics.features import as_bytes
from training.metrics.fidelity import fid
from training.metrics.latent import (
    arithmetic,
    interpolations,
    write_arithmetic,
    write_interpolations,
    write_neighbours,
)
from training.metrics.neighbours import find_neighbours, pixels
from training.metrics.pictures import MEASURES, PictureReference
from training.metrics.score import Score
from training.metrics.variety import PAPER_WEIGHTS, class_ms_ssim, ms_ssim, scales_for


class Means:
    """A feature network of eight features: the mean of each channel in a few places."""

    name = "means"
    resize = 8
    num_features = 12

    def vectors(self, pictures: Tensor) -> Tensor:
        x = pictures.permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)

    def maps(self, pictures: Tensor) -> tuple[Tensor, ...]:
        return (pictures.permute(0, 3, 1, 2).float(),)


def _noise(count: int, seed: int, top: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, top, (count, 8, 8, 3)).astype(np.uint8)


def test_every_score_names_its_network_resize_counts_and_floor() -> None:
    reference = PictureReference(Means(), _noise(60, 0), _noise(50, 1))
    scores = reference.score(_noise(40, 2, top=200), subsets=10, subset_size=30, neighbours=3)
    assert [score.name for score in scores] == ["FID", "KID", *MEASURES[2:]]
    for score in scores:
        assert (score.network, score.resize) == ("means", 8)
        assert (score.count, score.real, score.floor_count) == (40, 60, 50)
        assert score.floor is not None
        text = str(score)
        for part in ("floor", "from 50", "40 samples", "60 real", "means", "resize 8"):
            assert part in text
        assert Score.from_json(json.loads(json.dumps(score.as_json()))) == score
    fid_score, kid_score = scores[0], scores[1]
    assert fid_score.floor is not None and fid_score.value > 2 * fid_score.floor
    assert kid_score.detail == {"subsets": 10, "subset_size": 30}
    assert fid_score.floor == pytest.approx(fid(reference.real, reference.spare).value)


def test_real_pictures_in_the_generators_place_score_the_floor() -> None:
    reference = PictureReference(Means(), _noise(60, 0), _noise(50, 1))
    for score in reference.score(_noise(50, 1), subsets=5, subset_size=20):
        assert score.value == pytest.approx(score.floor)


def test_an_unknown_measure_and_a_score_that_is_none_are_refused() -> None:
    reference = PictureReference(Means(), _noise(6, 0), _noise(6, 1))
    with pytest.raises(MetricsError, match="measures"):
        reference.score(_noise(6, 2), ("beauty",))  # type: ignore[arg-type]
    with pytest.raises(MetricsError, match="score"):
        Score.from_json({"name": "FID"})


def _ms_ssim_by_hand(a: NDArray[np.float64], b: NDArray[np.float64], scales: int) -> float:
    """Wang et al., 2003, on (h, w) in [0, 1], with the 11-pixel Gaussian window of sigma 1.5.

    Windows lie inside the picture, but at the coarsest scale everywhere, over mirrored edges.
    """
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
        for axis in (0, 1):
            x = np.asarray(correlate1d(x, window, axis, mode="mirror"))
        return x

    weights = np.array(PAPER_WEIGHTS[:scales]) / sum(PAPER_WEIGHTS[:scales])
    product = 1.0
    for scale, weight in enumerate(weights):
        mean_a, mean_b = blur(a), blur(b)
        var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
        cov = blur(a * b) - mean_a * mean_b
        contrast = (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2)
        light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        last = scale == scales - 1
        seen = contrast * light if last else contrast[5:-5, 5:-5]
        product *= max(0.0, float(seen.mean())) ** weight
        a, b = (x.reshape(len(x) // 2, 2, len(x) // 2, 2).mean((1, 3)) for x in (a, b))
    return product


@pytest.mark.parametrize(
    ("side", "scales"), [(16, 1), (28, 2), (32, 2), (64, 3), (98, 3), (99, 4), (176, 5)]
)
def test_as_many_scales_are_taken_as_fit(side: int, scales: int) -> None:
    assert scales_for(side) == scales
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, side, side, 1)))
    assert ms_ssim(pictures, pictures, scales=scales) == pytest.approx(1)


@pytest.mark.parametrize("side", [32, 64])
def test_ms_ssim_is_the_papers_formula(side: int) -> None:
    rng = np.random.default_rng(0)
    a = np.kron(rng.integers(0, 256, (side // 8, side // 8)), np.ones((8, 8))).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 25, a.shape), 0, 255).astype(np.uint8)
    first, second = (torch.from_numpy(x)[None, :, :, None] for x in (a, b))
    expected = _ms_ssim_by_hand(a / 255, b / 255, scales_for(side))
    assert 0.2 < expected < 0.99
    assert ms_ssim(first, second, scales=scales_for(side)) == pytest.approx(expected, rel=1e-4)


def test_a_class_that_has_collapsed_stands_above_the_datas_own_ms_ssim() -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (20, 24, 24, 1)).astype(np.uint8)
    labels = np.arange(20) % 2
    drawn = real.copy()
    drawn[labels == 1] = real[1]
    scores = class_ms_ssim(drawn, labels, real, labels, label_names=("a", "b"), pairs=15)
    fine, collapsed, mean = scores
    assert collapsed.value == pytest.approx(1, abs=1e-4)
    assert collapsed.floor is not None and collapsed.floor < 0.5 and fine.value < 0.5
    assert mean.value == pytest.approx((fine.value + collapsed.value) / 2)
    assert collapsed.detail == {"pairs": 15, "scales": 2}
    with pytest.raises(MetricsError, match="labels"):
        class_ms_ssim(drawn, labels * 0, real, labels, label_names=("a", "b"))


def test_pictures_learnt_by_heart_are_found_and_others_are_not() -> None:
    training, held_out = pixels(_noise(80, 0)), pixels(_noise(80, 1))
    copies = find_neighbours(training[5:15] + 0.01, training, held_out, count=2)
    assert copies.rows[:, 0].tolist() == list(range(5, 15))
    assert copies.copied.value == 1
    fresh = find_neighbours(pixels(_noise(80, 2)), training, held_out)
    assert fresh.copied.value < 0.2
    assert fresh.copied.floor == pytest.approx(0.05, abs=0.02)
    assert (np.diff(fresh.distances, axis=1) >= 0).all()


def _draw(noise: Tensor) -> Tensor:
    """A generator whose picture is grey, as light as its first number."""
    return noise[:, :1, None, None].expand(-1, 1, 8, 8)


def test_walks_start_and_stop_where_they_were_told_and_change_steadily() -> None:
    starts, stops = torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    walk = interpolations(_draw, starts, stops, steps=5, spherical=False)
    assert walk.shape == (1, 5, 8, 8, 1)
    assert walk[0, :, 0, 0, 0].tolist() == [0, 64, 128, 191, 255]
    arc = interpolations(_draw, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), steps=3)
    middle = as_bytes(torch.full((1, 1, 1, 1), 0.5**0.5))
    assert arc[0, 1, 0, 0, 0] == middle[0, 0, 0, 0]
    with pytest.raises(MetricsError, match="steps"):
        interpolations(_draw, starts, stops, steps=1)


def test_vector_arithmetic_is_mean_minus_mean_plus_mean() -> None:
    made = arithmetic(
        _draw,
        torch.tensor([[0.6, 1.0], [1.0, 1.0]]),
        torch.tensor([[0.1, 0.0], [0.3, 0.0]]),
        torch.tensor([[-0.5, 2.0]]),
        around=4,
    )
    torch.testing.assert_close(made.noise, torch.tensor([0.1, 3.0]))
    assert made.result[0, 0, 0] == 140
    assert [len(row) for row in made.rows] == [2, 2, 1]
    assert len(made.around) == 4 and len(np.unique(made.around[:, 0, 0, 0])) > 1
    lowest, highest = made.around.min(), made.around.max()
    assert 140 - 33 <= lowest <= highest <= 140 + 33


def test_sheets_show_every_picture_by_whole_pixels(tmp_path: Path) -> None:
    walks = np.stack([_noise(4, 0), _noise(4, 1)])
    with Image.open(write_interpolations(tmp_path / "walk.png", walks, cell=16)) as sheet:
        assert sheet.size == (4 * 20 + 4, 2 * 20 + 4)
        pixels_of_first = np.asarray(sheet)[4:20, 4:20]
    assert (pixels_of_first == walks[0, 0].repeat(2, 0).repeat(2, 1)).all()
    rows = np.array([[1, 2], [3, 0]])
    with Image.open(
        write_neighbours(tmp_path / "near.png", walks[0], walks[1], rows, cell=16, limit=2)
    ) as sheet:
        assert sheet.width == 3 * 20 + 4
    made = arithmetic(_draw, torch.ones(3, 2), torch.zeros(3, 2), torch.zeros(3, 2))
    with Image.open(write_arithmetic(tmp_path / "sum.png", made)) as sheet:
        assert sheet.width == 9 * 68 + 4
    with pytest.raises(MetricsError, match="grid"):
        write_interpolations(tmp_path / "walk.txt", walks)
