from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.metrics.errors import MetricsError
from training.metrics.features import extract, load_features
from training.metrics.picture_classifier import FitSettings, PictureClassifier, fit

QUICK = FitSettings(kimg=0.96, batch=32, width=8, blocks=2, shift=1)


def _bars(count: int, seed: int, channels: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey pictures of a bar that stands, lies, or is not there."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count)
    pictures = rng.integers(0, 60, (count, 12, 12, 1)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        place = rng.integers(3, 8)
        if label == 0:
            picture[:, place : place + 2] = 220
        elif label == 1:
            picture[place : place + 2] = 220
    return np.repeat(pictures, channels, axis=3), labels.astype(np.int64)


@pytest.fixture(scope="module")
def classifier() -> PictureClassifier:
    return fit(
        *_bars(300, 0), *_bars(100, 1), title="bars",
        label_names=("up", "flat", "none"), settings=QUICK,
    )  # fmt: skip


def test_it_learns_and_knows_how_well_on_pictures_it_never_saw(
    classifier: PictureClassifier,
) -> None:
    assert classifier.accuracy > 0.9
    pictures, labels = _bars(100, 1)
    seen = classifier.all_logits(pictures, batch=33).argmax(dim=1).numpy()
    assert (seen == labels).mean() == pytest.approx(classifier.accuracy)
    assert classifier.held_out == 100


def test_saved_and_read_again_it_answers_the_same_under_the_same_name(
    classifier: PictureClassifier, tmp_path: Path
) -> None:
    classifier.save(tmp_path / "judge")
    again = load_features("classifier", weights=tmp_path / "judge")
    assert isinstance(again, PictureClassifier)
    pictures, _ = _bars(9, 2)
    assert torch.equal(again.all_logits(pictures), classifier.all_logits(pictures))
    assert again.name == classifier.name and again.name.startswith("classifier of bars (")
    assert (again.labels, again.accuracy) == (classifier.labels, classifier.accuracy)


def test_it_serves_as_feature_network(classifier: PictureClassifier) -> None:
    pictures, _ = _bars(5, 2)
    features = extract(classifier, pictures, batch=2)
    assert features.shape == (5, classifier.num_features)
    head = classifier.network.head(features)
    torch.testing.assert_close(head, classifier.all_logits(pictures), rtol=1e-4, atol=1e-4)
    assert [m.shape[-1] for m in classifier.maps(torch.from_numpy(pictures))] == [6, 3]


def test_grey_pictures_are_read_the_same_from_one_channel_and_from_three(
    classifier: PictureClassifier,
) -> None:
    assert classifier.channels == 1
    grey, three = _bars(6, 3, channels=1)[0], _bars(6, 3, channels=3)[0]
    torch.testing.assert_close(classifier.all_logits(grey), classifier.all_logits(three))


def test_training_repeats_with_its_seed_and_skips_unlabelled_pictures() -> None:
    settings = FitSettings(kimg=0.064, batch=32, width=4, blocks=1)
    pictures, labels = _bars(60, 0)
    arguments = {"title": "bars", "label_names": ("a", "b", "c"), "settings": settings}
    first = fit(pictures, labels, *_bars(20, 1), **arguments)  # type: ignore[arg-type]
    assert fit(pictures, labels, *_bars(20, 1), **arguments).name == first.name  # type: ignore[arg-type]
    noise = np.full((40, 12, 12, 3), 255, np.uint8)
    more = np.concatenate([pictures, noise])
    unknown = np.concatenate([labels, np.full(40, -1)])
    assert fit(more, unknown, *_bars(20, 1), **arguments).name == first.name  # type: ignore[arg-type]


def test_a_folder_without_a_classifier_and_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="classifier"):
        PictureClassifier.load(tmp_path)
    pictures, labels = _bars(10, 0)
    with pytest.raises(MetricsError, match="labels"):
        fit(pictures, labels + 1, pictures, labels, title="bars", label_names=("a", "b", "c"))
    with pytest.raises(MetricsError, match="kimg"):
        FitSettings(kimg=0.01)
