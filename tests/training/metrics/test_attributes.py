from pathlib import Path

import numpy as np
import pytest
import torch

from training.metrics.attributes import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AttributeClassifier,
    AttributeNetwork,
    accuracy,
)
from training.metrics.errors import ClassifierMismatch, MetricsError
from training.metrics.train_classifier import ClassifierTraining, degrade, train_classifier

ATTRIBUTES = {"colour": ("red", "green", "blue"), "side": ("top", "bottom")}


def _squares(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a square on grey: its colour and its height in the picture are the attributes."""
    rng = np.random.default_rng(seed)
    values = np.stack([rng.integers(0, 3, count), rng.integers(0, 2, count)], 1).astype(np.int8)
    pictures = np.full((count, 64, 64, 3), 128, np.uint8)
    for picture, (colour, side) in zip(pictures, values, strict=True):
        top, left = 8 + 30 * side, rng.integers(8, 40)
        picture[top : top + 16, left : left + 16] = np.eye(3, dtype=np.uint8)[colour] * 220
    return pictures, values


@pytest.fixture(scope="module")
def trained() -> AttributeClassifier:
    pictures, values = _squares(256, 0)
    knobs = ClassifierTraining(kimg=1.6, batch=32, widths=(8, 16, 16))
    return train_classifier(pictures, values, ATTRIBUTES, "v1", knobs)


@pytest.fixture(scope="module")
def fresh() -> AttributeClassifier:
    torch.manual_seed(0)
    return AttributeClassifier(AttributeNetwork((3, 2), (8, 16, 16)), ATTRIBUTES, "v1", (8, 16, 16))


def test_a_classifier_learns_what_and_where(trained: AttributeClassifier) -> None:
    pictures, values = _squares(128, 1)
    assert accuracy(trained.predict(pictures), values).each.min() >= 0.95


def test_training_repeats_with_its_seed_and_leaves_the_global_random_state_alone() -> None:
    pictures, values = _squares(32, 0)
    knobs = ClassifierTraining(kimg=0.064, batch=32, widths=(4, 4, 4))
    torch.manual_seed(3)
    one = train_classifier(pictures, values, ATTRIBUTES, "v1", knobs)
    after = torch.rand(1)
    two = train_classifier(pictures, values, ATTRIBUTES, "v1", knobs)
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, two.network.state_dict()[name]), name
    torch.manual_seed(3)
    assert torch.rand(1) == after


def test_training_refuses_pictures_whose_attributes_are_not_all_known() -> None:
    pictures, values = _squares(8, 0)
    values[3, 1] = -1
    with pytest.raises(MetricsError, match="values"):
        train_classifier(pictures, values, ATTRIBUTES, "v1")


def test_training_refuses_to_last_less_than_a_batch() -> None:
    with pytest.raises(MetricsError, match="kimg"):
        ClassifierTraining(kimg=0.01, batch=128)


def test_degrading_keeps_colours_but_not_pixels() -> None:
    pictures, _ = _squares(64, 2)
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    y = degrade(x, torch.Generator().manual_seed(0))
    assert y.shape == x.shape
    assert y.abs().max() <= 1
    assert (y - x).abs().mean(dim=(1, 2, 3)).min() > 0
    shift = (y.mean(dim=(2, 3)) - x.mean(dim=(2, 3))).abs()
    assert shift.max() < 0.02


def test_accuracy_counts_only_what_was_asked() -> None:
    predicted = np.array([[0, 1], [2, 1], [1, 0]], np.int8)
    asked = np.array([[0, -1], [1, 1], [1, 0]], np.int8)
    measured = accuracy(predicted, asked)
    assert measured.correct.tolist() == [2, 2]
    assert measured.total.tolist() == [3, 2]
    assert measured.each.tolist() == [2 / 3, 1.0]
    assert measured.mean == pytest.approx(5 / 6)


def test_an_attribute_nobody_asked_about_is_left_out_of_the_mean() -> None:
    predicted = np.array([[0, 1], [1, 0]], np.int8)
    asked = np.array([[0, -1], [0, -1]], np.int8)
    measured = accuracy(predicted, asked)
    assert np.isnan(measured.each[1])
    assert measured.mean == 0.5


def test_accuracy_refuses_answers_that_do_not_match_the_questions() -> None:
    with pytest.raises(MetricsError, match="predicted"):
        accuracy(np.zeros((2, 2), np.int8), np.zeros((3, 2), np.int8))


def test_a_saved_classifier_answers_as_before(fresh: AttributeClassifier, tmp_path: Path) -> None:
    fresh.save(tmp_path)
    loaded = AttributeClassifier.load(tmp_path)
    assert loaded.attributes == ATTRIBUTES
    assert loaded.drawn_by == "v1"
    for name, value in fresh.network.state_dict().items():
        torch.testing.assert_close(
            loaded.network.state_dict()[name].float(), value.float(), rtol=1e-3, atol=1e-3
        )
    assert not list(tmp_path.glob(".*"))


def test_larger_pictures_are_reduced(trained: AttributeClassifier) -> None:
    pictures, _ = _squares(16, 3)
    doubled = pictures.repeat(2, axis=1).repeat(2, axis=2)
    same = trained.predict(doubled) == trained.predict(pictures)
    assert same.mean() >= 0.95


def test_no_pictures_have_no_answers(fresh: AttributeClassifier) -> None:
    assert fresh.predict(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, 2)


def test_other_drawings_are_refused_with_the_remedy(fresh: AttributeClassifier) -> None:
    fresh.require(ATTRIBUTES, "v1")
    with pytest.raises(ClassifierMismatch, match="t2i-train classifier birds --out"):
        fresh.require(ATTRIBUTES, "v2")


def test_other_attributes_are_refused(fresh: AttributeClassifier) -> None:
    with pytest.raises(ClassifierMismatch, match="other attributes"):
        fresh.require({**ATTRIBUTES, "side": ("top", "bottom", "middle")}, "v1")


@pytest.mark.parametrize("file", [WEIGHTS_FILE, CONFIG_FILE])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_classifier_is_refused(
    fresh: AttributeClassifier, tmp_path: Path, file: str, damage: str
) -> None:
    fresh.save(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    if damage == "cut":
        (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(MetricsError, match="no usable attribute classifier"):
        AttributeClassifier.load(tmp_path)
