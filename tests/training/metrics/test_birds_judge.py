from pathlib import Path

import pytest

from training.data.birds import ATTRIBUTES
from training.metrics import birds_judge
from training.metrics.attributes import (
    WEIGHTS_FILE,
    AttributeClassifier,
    accuracy,
)
from training.metrics.birds_judge import (
    SHIPPED,
    classifier_birds,
    drawing_fingerprint,
    make_birds_classifier,
    save_with_card,
)
from training.metrics.train_classifier import ClassifierTraining

FRESH_SEED = 880_001


def test_the_shipped_classifier_fits_the_drawings_of_this_version(
    judge: AttributeClassifier,
) -> None:
    judge.require(ATTRIBUTES, drawing_fingerprint())


def test_the_shipped_classifier_reads_98_of_100_attributes_of_birds_it_never_saw(
    judge: AttributeClassifier, tmp_path: Path
) -> None:
    test = classifier_birds(600, FRESH_SEED, tmp_path, progress=False)
    assert accuracy(judge.predict(test.pictures), test.attributes).mean >= 0.98


def test_the_shipped_weights_are_at_most_two_megabytes() -> None:
    assert (SHIPPED / WEIGHTS_FILE).stat().st_size <= 2_000_000


def test_the_fingerprint_follows_the_version_of_the_drawings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = drawing_fingerprint()
    monkeypatch.setattr(birds_judge, "DRAWING_VERSION", "another")
    assert drawing_fingerprint() != before


def test_a_classifier_made_anew_carries_its_card(tmp_path: Path) -> None:
    shown: list[int] = []
    knobs = ClassifierTraining(kimg=0.064, batch=32, widths=(4, 4, 4))
    classifier, measured = make_birds_classifier(
        knobs,
        count=16,
        test_count=8,
        cache_dir=tmp_path / "cache",
        show_drawing=False,
        progress=shown.append,
    )
    assert sum(shown) == 64
    assert measured.total.tolist() == [8] * len(ATTRIBUTES)
    save_with_card(classifier, tmp_path / "judge")
    card = (tmp_path / "judge" / "CARD.md").read_text("utf-8")
    assert "t2i-train classifier birds" in card
    assert "--count 16 " in card
    assert f"**{measured.mean:.4f}**" in card
    AttributeClassifier.load(tmp_path / "judge").require(ATTRIBUTES, drawing_fingerprint())
