import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from t2i.pipeline import PipelineInfo
from training.data.birds import ATTRIBUTE_NAMES, render, sample_bird
from training.metrics.attributes import AttributeClassifier
from training.metrics.errors import ClassifierMismatch, MetricsError
from training.metrics.evaluate_birds import EvaluationSettings, Painter, SplitScores, measure
from training.metrics.grid import write_grid
from training.metrics.reference import Reference, bird_of_claims, named
from training.metrics.report import report, tables

Scores = tuple[SplitScores, ...]


class Oracle:
    """A perfect model: draws a real bird of which the caption is true."""

    resolution = 64

    def __init__(self, references: Iterable[Reference]) -> None:
        self._known: Mapping[str, tuple[Reference, int]] = {
            text: (reference, row)
            for reference in references
            for row, text in enumerate(reference.captions)
        }

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        return np.stack([self._one(text, seed) for text, seed in zip(captions, seeds, strict=True)])

    def _one(self, text: str, seed: int) -> NDArray[np.uint8]:
        reference, row = self._known[text]
        rng = np.random.default_rng([seed, row, 7])
        return render(bird_of_claims(rng, reference.split, named(reference.claims[row])), 64)


class Stubborn(Oracle):
    """Draws what the caption states, but one and the same picture whatever the seed."""

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        return super().paint(captions, [0] * len(captions))


class Deaf:
    """Draws real birds that have nothing to do with the caption."""

    resolution = 64

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        rngs = [np.random.default_rng([seed, 5]) for seed in seeds]
        return np.stack([render(sample_bird(rng, "val"), 64) for rng in rngs])


class Noise:
    """Draws no birds at all."""

    resolution = 64

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        rng = np.random.default_rng(list(seeds))
        return rng.integers(0, 256, (len(captions), 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def perfect(
    references: tuple[Reference, ...],
    judge: AttributeClassifier,
    small: EvaluationSettings,
    bird_cache: Path,
) -> Scores:
    painter = Oracle(references)
    return measure(painter, judge, small, cache_dir=bird_cache, show_progress=False)


def _one_split(
    painter: Painter, judge: AttributeClassifier, small: EvaluationSettings, cache: Path
) -> SplitScores:
    settings = replace(small, splits=("unseen",), seeds=(0,))
    return measure(painter, judge, settings, cache_dir=cache, show_progress=False)[0]


def test_a_perfect_model_scores_as_the_judge_does_on_real_pictures(perfect: Scores) -> None:
    assert [each.split for each in perfect] == ["val", "unseen"]
    for scores in perfect:
        assert len(scores.agreement) == 2
        for agreement in scores.agreement:
            assert agreement.mean >= scores.classifier.mean - 0.04


def test_a_perfect_model_is_as_near_as_the_floor_and_as_varied_as_the_data(
    perfect: Scores,
) -> None:
    for scores in perfect:
        for distance in scores.kid:
            assert distance.value < scores.kid_floor.value + 0.1
        assert 0.75 < scores.feature_variety.ratio < 1.33
        assert 0.75 < scores.pixel_variety.ratio < 1.33


def test_only_what_captions_state_is_counted(
    perfect: Scores, references: tuple[Reference, ...]
) -> None:
    for scores, reference in zip(perfect, references, strict=True):
        asked = (reference.claims >= 0).sum(axis=0)
        assert scores.agreement[0].total.tolist() == asked.tolist()
        assert scores.classifier.total.tolist() == [80] * len(ATTRIBUTE_NAMES)


def test_a_model_deaf_to_the_caption_scores_by_chance(
    judge: AttributeClassifier, small: EvaluationSettings, bird_cache: Path
) -> None:
    scores = _one_split(Deaf(), judge, small, bird_cache)
    crown = ATTRIBUTE_NAMES.index("crown")
    assert scores.agreement[0].each[crown] < 0.4
    assert scores.agreement[0].mean < 0.7


def test_a_model_deaf_to_its_seed_has_no_variety(
    references: tuple[Reference, ...],
    judge: AttributeClassifier,
    small: EvaluationSettings,
    bird_cache: Path,
) -> None:
    scores = _one_split(Stubborn(references), judge, small, bird_cache)
    assert scores.feature_variety.ratio < 0.01
    assert scores.pixel_variety.ratio < 0.01
    assert scores.agreement[0].mean > 0.9


def test_noise_is_far_from_birds(
    judge: AttributeClassifier, small: EvaluationSettings, bird_cache: Path
) -> None:
    scores = _one_split(Noise(), judge, small, bird_cache)
    assert scores.kid[0].value > scores.kid_floor.value + 0.5


def test_a_judge_of_other_drawings_is_refused_before_anything_is_drawn(
    judge: AttributeClassifier, small: EvaluationSettings, tmp_path: Path
) -> None:
    other = AttributeClassifier(judge.network, judge.attributes, "0" * 64, judge.widths)
    with pytest.raises(ClassifierMismatch, match="t2i-train classifier"):
        measure(Deaf(), other, small, cache_dir=tmp_path, show_progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 1),
        ("seeds", ()),
        ("seeds", (0, 0)),
        ("seeds", (-1,)),
        ("splits", ()),
        ("splits", ("test",)),
        ("variety_captions", 0),
        ("variety_captions", 41),
        ("variety_pictures", 1),
    ],
)
def test_settings_that_measure_nothing_are_refused(
    small: EvaluationSettings, field: str, value: Any
) -> None:
    with pytest.raises(MetricsError, match=field):
        replace(small, **{field: value})


@pytest.fixture
def result(perfect: Scores, small: EvaluationSettings) -> dict[str, Any]:
    return report(
        perfect,
        small,
        info=PipelineInfo("oracle", "1", "c" * 64, ("text",), (64,), "", 1, (), 1, (), ()),
        classifier={"path": "shipped", "sha256": "d" * 64},
        command="t2i-train eval oracle",
        seconds=1.0,
    )


def test_the_report_holds_every_figure_with_its_counts_and_survives_json(
    result: dict[str, Any], perfect: Scores
) -> None:
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    unseen = result["splits"]["unseen"]
    assert unseen["captions"] == 40
    assert unseen["pictures"] == 80
    assert set(unseen["attributes"]) == set(ATTRIBUTE_NAMES)
    assert unseen["head"]["value"] == unseen["attributes"]["crown"]["value"]
    assert unseen["head"]["spread"] == pytest.approx(np.std(unseen["head"]["each"]), abs=1e-5)
    assert unseen["kid"]["name"] == "Lite0-KID"
    assert unseen["kid"]["floor"] == pytest.approx(perfect[1].kid_floor.value, abs=1e-6)
    assert (unseen["kid"]["real"], unseen["kid"]["resize"]) == (40, 64)
    assert unseen["variety"]["Lite0-distance"]["ratio"] > 0.5
    assert result["settings"]["seeds"] == [0, 1]


def test_the_mean_over_attributes_is_unweighted(result: dict[str, Any]) -> None:
    unseen = result["splits"]["unseen"]
    shares = [row["value"] for row in unseen["attributes"].values() if row["value"] is not None]
    assert unseen["mean"]["value"] == pytest.approx(np.mean(shares), abs=1e-5)


def test_the_tables_show_figures_beside_what_real_pictures_score(result: dict[str, Any]) -> None:
    page = io.StringIO()
    Console(width=80, file=page).print(tables(result))
    text = page.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("crown (head)", "Lite0-KID", "floor", "1-MS-SSIM", "unseen", "judge"):
        assert word in text


def test_the_grid_shows_a_real_picture_and_one_for_each_seed(
    references: tuple[Reference, ...], tmp_path: Path
) -> None:
    path = tmp_path / "grid.png"
    painter = Oracle(references)
    assert write_grid(path, painter, references, seeds=(0, 1, 2), captions=2) == path
    with Image.open(path) as sheet:
        assert sheet.width == 232 + 4 * 100
        assert sheet.height == 20 + 4 * 100
        real = np.asarray(sheet.crop((232, 20, 232 + 96, 20 + 96)))
    expected = Image.fromarray(np.asarray(references[0].pictures[0]))
    np.testing.assert_array_equal(real, expected.resize((96, 96), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("name", ["grid.txt", "missing/grid.png"])
def test_a_grid_that_cannot_be_written_is_refused(
    references: tuple[Reference, ...], tmp_path: Path, name: str
) -> None:
    with pytest.raises(MetricsError, match="grid"):
        write_grid(tmp_path / name, Oracle(references), references, seeds=(0,))
