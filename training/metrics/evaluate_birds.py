"""Measures a trained model on the illustrated birds: agreement, fidelity and variety."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.birds import ATTRIBUTES, SPLITS, BirdTruth, Split
from training.data.birds.dataset import MAX_SIZE, MIN_SIZE
from training.metrics.agreement import AgreementTest, Matcher, questions
from training.metrics.attributes import Accuracy, AttributeClassifier, accuracy
from training.metrics.birds_judge import drawing_fingerprint
from training.metrics.errors import MetricsError
from training.metrics.features import FeatureNetwork, extract, load_features
from training.metrics.fidelity import Distance, kid
from training.metrics.progress import Steps
from training.metrics.reference import Reference, load_reference, real_groups
from training.metrics.score import Score, averaged
from training.metrics.variety import mean_variety

if TYPE_CHECKING:
    from t2i.pipeline import Pipeline

# Draws of the figures and of the variety must not share seeds, and no two captions of one
# evaluation may either: a model whose noise alone decides would look better than it is.
_SEED_STRIDE = 1_000_000
_VARIETY_OFFSET = 500_000


class Painter(Protocol):
    """Anything that draws captions: a pipeline, or a stand-in with known properties."""

    resolution: int

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Return one picture for each caption and seed, (n, r, r, 3) uint8."""
        ...


class PipelinePainter:
    """Draws with a loaded bundle, in large batches, each caption encoded once."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.resolution = max(pipeline.info.resolutions)
        self._embeddings: dict[str, torch.Tensor] = {}

    def paint(self, captions: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Return one picture for each caption and seed, (n, r, r, 3) uint8."""
        from t2i.conditions import Text
        from t2i.pipeline import Draw

        fresh = list(dict.fromkeys(text for text in captions if text not in self._embeddings))
        for start in range(0, len(fresh), 256):
            part = fresh[start : start + 256]
            encoded = self.pipeline.encode([Text(text) for text in part])
            self._embeddings.update(zip(part, encoded, strict=True))
        draws = [
            Draw(self._embeddings[text], seed, 1.0, 1.0)
            for text, seed in zip(captions, seeds, strict=True)
        ]
        return np.stack([stages[-1] for stages in self.pipeline.draw(draws)])


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is measured, and on how much.

    Attributes:
        count: captions of each split, one picture each, for every seed.
        seeds: of the generator; the spread is over them.
        splits: "val" shows combinations that training showed, "unseen" those it did not.
        data_seed: of the birds and of the choice of captions.
        features: feature network of the KID and of the variety.
        resize: side to which pictures are brought for it.
        subsets: of the KID.
        subset_size: pictures in each, at most `count`.
        variety_captions: captions for which several pictures are drawn, for every seed.
        variety_pictures: how many.
    """

    count: int = 2000
    seeds: tuple[int, ...] = (0, 1, 2)
    splits: tuple[Split, ...] = ("val", "unseen")
    data_seed: int = 1
    features: str = "lite0"
    resize: int = 128
    subsets: int = 100
    subset_size: int = 500
    variety_captions: int = 100
    variety_pictures: int = 8

    def __post_init__(self) -> None:
        if self.count < 2:
            raise MetricsError("count", self.count, "is too few to measure", "use 2 or more")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise MetricsError(
                "seeds", self.seeds, "are not different whole numbers from 0", "use 0 1 2"
            )
        if not self.splits or set(self.splits) - set(SPLITS):
            raise MetricsError("splits", self.splits, "are not splits", f"use some of {SPLITS}")
        if not 1 <= self.variety_captions <= self.count:
            raise MetricsError(
                "variety_captions",
                self.variety_captions,
                f"is not from 1 to the {self.count} captions",
                "use fewer",
            )
        if self.variety_pictures < 2:
            raise MetricsError(
                "variety_pictures", self.variety_pictures, "holds no pair", "use 2 or more"
            )


@dataclass(frozen=True, slots=True)
class VarietyScore:
    """Mean distance between pictures of one caption: generated (one figure a seed) and real."""

    generated: tuple[float, ...]
    data: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The generated pictures' variety as a share of the data's."""
        return float(np.mean(self.generated) / np.mean(self.data))


@dataclass(frozen=True, slots=True)
class SplitScores:
    """All that is measured on one split; tuples hold one entry a seed.

    `matched` alone holds means over the seeds: R-precision and matching score, with a matcher.
    """

    split: Split
    fingerprint: str
    agreement: tuple[Accuracy, ...]
    classifier: Accuracy
    features: str
    kid: tuple[Distance, ...]
    kid_floor: Distance
    feature_variety: VarietyScore
    pixel_variety: VarietyScore
    matched: tuple[Score, ...] = ()

    @property
    def attribute_accuracy(self) -> NDArray[np.float64]:
        """(seeds, n_attributes) share of the stated attributes that the pictures show."""
        return np.stack([each.each for each in self.agreement])


def measure(
    painter: Painter,
    classifier: AttributeClassifier,
    settings: EvaluationSettings | None = None,
    *,
    matcher: Matcher | None = None,
    cache_dir: Path | None = None,
    show_progress: bool = True,
) -> tuple[SplitScores, ...]:
    """Measure a model on every split of the settings.

    Args:
        painter: the model.
        classifier: reads attributes off pictures; must fit the drawings.
        settings: what is measured, and on how much.
        matcher: judges how pictures agree with captions, see `t2i-train matcher`; may be left out.
        cache_dir: where drawn birds are kept.
        show_progress: show bars on standard error, if that is a terminal.

    Raises:
        ClassifierMismatch: the classifier was trained on other drawings.
        MetricsError: a setting cannot be used.
    """
    chosen = settings or EvaluationSettings()
    classifier.require(ATTRIBUTES, drawing_fingerprint())
    if not MIN_SIZE <= painter.resolution <= MAX_SIZE:
        raise MetricsError(
            "bundle",
            painter.resolution,
            f"draws pictures of {painter.resolution} pixels",
            f"birds are drawn with {MIN_SIZE} to {MAX_SIZE}: measure such a bundle",
        )
    network = load_features(chosen.features, chosen.resize)
    results = []
    for split in chosen.splits:
        reference = load_reference(
            split,
            chosen.count,
            size=painter.resolution,
            seed=chosen.data_seed,
            cache_dir=cache_dir,
            progress=show_progress,
        )
        with Steps(show=show_progress) as steps:
            results.append(
                _measure_split(painter, classifier, network, reference, chosen, matcher, steps)
            )
    return tuple(results)


def _measure_split(
    painter: Painter,
    classifier: AttributeClassifier,
    network: FeatureNetwork,
    reference: Reference,
    settings: EvaluationSettings,
    matcher: Matcher | None,
    steps: Steps,
) -> SplitScores:
    split, count = reference.split, settings.count
    bar = steps.start(f"{split}: real pictures", 4 * count)
    known = accuracy(classifier.predict(reference.pictures, progress=bar), reference.attributes)
    spare = accuracy(classifier.predict(reference.floor, progress=bar), reference.floor_attributes)
    real = extract(network, reference.pictures, progress=bar)
    subset = min(settings.subset_size, count)
    other = extract(network, reference.floor, progress=bar)
    floor = kid(real, other, subsets=settings.subsets, subset_size=subset)

    test = None if matcher is None else _agreement_test(matcher, reference, steps)
    matched: dict[str, dict[int, Score]] = {}
    agreement, distances = [], []
    for seed in settings.seeds:
        total = (3 if test is None else 4) * count
        bar = steps.start(f"{split}: {count} captions, seed {seed}", total)
        draws = [seed * _SEED_STRIDE + row for row in range(count)]
        pictures = _painted(painter, reference.captions, draws, bar)
        agreement.append(accuracy(classifier.predict(pictures, progress=bar), reference.claims))
        features = extract(network, pictures, progress=bar)
        distances.append(kid(real, features, subsets=settings.subsets, subset_size=subset))
        for score in () if test is None else test.ask(pictures, progress=bar):
            matched.setdefault(score.name, {})[seed] = score

    feature, pixel = _variety(painter, network, reference, settings, steps)
    return SplitScores(
        split=split,
        fingerprint=reference.fingerprint,
        agreement=tuple(agreement),
        classifier=Accuracy(known.correct + spare.correct, known.total + spare.total),
        features=network.name,
        kid=tuple(distances),
        kid_floor=floor,
        feature_variety=feature,
        pixel_variety=pixel,
        matched=tuple(averaged(each) for each in matched.values()),
    )


def _agreement_test(matcher: Matcher, reference: Reference, steps: Steps) -> AgreementTest:
    rows = np.arange(len(reference.captions))
    truth = BirdTruth(reference.attributes, reference.claims)
    right = truth.agreement(rows, rows) >= 1.0
    bar = steps.start(f"{reference.split}: real pictures, matched", len(rows))
    asked = questions(reference.captions, right)
    return AgreementTest(matcher, asked, reference.pictures, rows, progress=bar)


def _variety(
    painter: Painter,
    network: FeatureNetwork,
    reference: Reference,
    settings: EvaluationSettings,
    steps: Steps,
) -> tuple[VarietyScore, VarietyScore]:
    rows = np.arange(settings.variety_captions)
    each = settings.variety_pictures
    captions = [reference.captions[row] for row in rows.tolist() for _ in range(each)]
    total = 4 * len(captions) * len(settings.seeds)
    bar = steps.start(f"{reference.split}: variety, {each} pictures a caption", total)
    drawn, real = [], []
    for seed in settings.seeds:
        start = seed * _SEED_STRIDE + _VARIETY_OFFSET
        pictures = _painted(painter, captions, range(start, start + len(captions)), bar)
        groups = pictures.reshape(len(rows), each, *pictures.shape[1:])
        drawn.append(mean_variety(groups, network, progress=bar))
        groups = real_groups(reference, rows, each=each, seed=seed, progress=bar)
        real.append(mean_variety(groups, network, progress=bar))
    return (
        VarietyScore(tuple(a for a, _ in drawn), tuple(a for a, _ in real)),
        VarietyScore(tuple(b for _, b in drawn), tuple(b for _, b in real)),
    )


def _painted(
    painter: Painter, captions: Sequence[str], seeds: Sequence[int], bar: Callable[[int], None]
) -> NDArray[np.uint8]:
    parts = []
    for start in range(0, len(captions), 128):
        part = captions[start : start + 128]
        parts.append(painter.paint(part, seeds[start : start + 128]))
        bar(len(part))
    return np.concatenate(parts)
