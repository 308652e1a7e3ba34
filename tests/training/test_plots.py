from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i.errors import InvalidInput
from training.plots import (
    COLOURS,
    Series,
    curves,
    line_chart,
    panels,
    save_plot,
    scatter_plot,
    ticks,
)


def _where(image: Image.Image, colour: int, fuzz: int = 40) -> np.ndarray:
    """Rows and columns of the pixels of a palette colour."""
    array = np.asarray(image).astype(int)
    return np.argwhere(np.abs(array - COLOURS[colour]).max(axis=2) < fuzz)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.25, 0.25, [-0.2, -0.1, 0, 0.1, 0.2]),
        (17, 431, [100, 200, 300, 400]),
        (2.0, 2.0, [2.0]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(
    low: float, high: float, expected: list[float]
) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_rising_line_rises_from_left_to_right() -> None:
    image = line_chart([Series("", [0, 1, 2], [0, 1, 2])], title="up", x_label="x", y_label="y")
    assert image.size == (520, 340)
    places = _where(image, 0)
    assert len(places) > 100
    lowest, highest = places[places[:, 0].argmax()], places[places[:, 0].argmin()]
    assert lowest[1] < highest[1] - 300


def test_gaps_and_what_a_logarithm_cannot_show_are_left_out() -> None:
    whole = _where(line_chart([Series("", range(9), np.ones(9))]), 0)
    broken = np.ones(9)
    broken[3:6] = np.nan
    gap = _where(line_chart([Series("", range(9), broken)]), 0)
    assert 0.3 * len(whole) < len(gap) < 0.8 * len(whole)
    decades = line_chart([Series("", [0, 1, 2, 3], [0.0, 1e-3, 1, 1e3])], log_y=True)
    assert len(_where(decades, 0)) > 100


def test_a_dashed_line_is_there_and_has_gaps() -> None:
    solid = len(_where(line_chart([Series("", [0, 9], [1, 1])]), 0))
    dashed = len(_where(line_chart([Series("", [0, 9], [1, 1], dashed=True)]), 0))
    assert 0.35 * solid < dashed < 0.65 * solid


def test_one_point_alone_is_a_dot() -> None:
    assert len(_where(line_chart([Series("", [3], [4])]), 0)) >= 9


def test_points_keep_the_shape_of_the_plane_and_of_its_order() -> None:
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = Series("", np.cos(angle), np.sin(angle))
    image = scatter_plot([circle, Series("", [0], [0])], size=(500, 300), radius=3)
    places = _where(image, 0)
    height, width = np.ptp(places, axis=0)
    assert height == pytest.approx(width, abs=4)
    middle = _where(image, 1).mean(axis=0)
    assert middle == pytest.approx((places.min(axis=0) + places.max(axis=0)) / 2, abs=2)


def test_points_outside_given_limits_are_cut_off_and_leave_the_axes_free() -> None:
    image = scatter_plot([Series("", [0.0, 50.0, -50.0], [0.0, 1.0, 0.0])], limits=(-1, 1))
    places = _where(image, 0)
    assert 0 < len(places) < 60
    assert (np.ptp(places, axis=0) < 10).all()


def test_the_legend_shows_each_named_series_in_its_colour() -> None:
    flat = [Series(f"run {index}", [0, 1], [index, index]) for index in range(4)]
    image = line_chart(flat)
    for index in range(4):
        assert _where(image, index)[:, 0].max() > 280


def test_curves_put_a_dashed_height_in_the_colour_of_its_line() -> None:
    made = curves({"a": ([0, 2], [1, 2]), "b": ([1, 3], [1, 2])}, dashed={"b": 0.5})
    assert [each.name for each in made] == ["a", "b", ""]
    assert (made[2].dashed, made[2].colour, made[2].x) == (True, 1, [0.0, 3.0])


def test_charts_stand_beside_each_other_and_are_saved_whole(tmp_path: Path) -> None:
    chart = line_chart([Series("", [0, 1], [0, 1])], size=(200, 150))
    path = save_plot(panels([chart, chart, chart]), tmp_path / "plot.png")
    with Image.open(path) as image:
        assert image.size == (400, 300)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    chart = line_chart([Series("", [0, 1], [0, 1])])
    with pytest.raises(InvalidInput, match="no number"):
        line_chart([Series("", [0, 1], [np.nan, np.inf])])
    with pytest.raises(InvalidInput, match="as many of both"):
        line_chart([Series("a", [0, 1], [0])])
    with pytest.raises(InvalidInput, match="PNG"):
        save_plot(chart, tmp_path / "plot.pdf")
    with pytest.raises(InvalidInput, match="folder"):
        save_plot(chart, tmp_path / "none" / "plot.png")
    with pytest.raises(InvalidInput, match="room"):
        line_chart([Series("", [0, 1], [0, 1])], size=(60, 40))
