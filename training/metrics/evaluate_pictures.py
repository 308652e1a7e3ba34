"""Measures a bundle against any data set of pictures: fidelity, agreement, variety, copies.

The bundle is asked with what it takes: captions or labels of real pictures, codes or attributes by
lot, or nothing but a seed. Illustrated birds, of which everything is known, are measured by
`training.metrics.evaluate_birds` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from t2i.attributes import Attribute
from t2i.codes import CodePart
from t2i.conditions import Attributes, Code, Condition, Label, Text
from t2i.pipeline import Draw, Pipeline, PipelineInfo
from training.data.errors import DataError
from training.data.load import load_pictures, named
from training.data.locate import PICTURE_SETS
from training.data.pictures import PictureData
from training.metrics.classes import class_accuracy
from training.metrics.errors import MetricsError
from training.metrics.features import FeatureNetwork, Progress, batches, extract, load_features
from training.metrics.neighbours import find_neighbours
from training.metrics.picture_classifier import PictureClassifier
from training.metrics.pictures import PictureReference
from training.metrics.progress import Steps
from training.metrics.score import Score
from training.metrics.variety import feature_distance

AT_ONCE = 128
# Fewer held-out pictures than this tell less than training pictures that are said to be such.
ENOUGH = 100


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """How much is measured.

    Attributes:
        count: pictures drawn, one for each real picture that is asked after; halved where the data
            hold fewer than twice as many.
        seed: of the generator and of all lots.
        features: `lite0`, `inception` or `classifier`.
        resize: side to which pictures are brought for it; None for the network's usual one.
        weights: of `inception` (a file) or `classifier` (a folder).
        subsets: of KID.
        subset_size: pictures in each.
        variety_conditions: captions or labels for which several pictures are drawn.
        variety_pictures: how many.
    """

    count: int = 2000
    seed: int = 0
    features: str = "lite0"
    resize: int | None = 128
    weights: Path | None = None
    subsets: int = 100
    subset_size: int = 500
    variety_conditions: int = 50
    variety_pictures: int = 8


@dataclass(frozen=True, slots=True)
class Sources:
    """Real pictures for three purposes.

    Attributes:
        training: what the model learned from, as far as the name of the data tells.
        real: what generated pictures are compared with, and asked after.
        spare: other pictures of the same kind, for the floor.
        held_out: whether `real` and `spare` are of another split than `training`.
    """

    training: PictureData
    real: NDArray[np.int64]
    spare: NDArray[np.int64]
    held: PictureData
    held_out: bool


def load_sources(
    source: str,
    *,
    resolution: int,
    count: int,
    enough: int = ENOUGH,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Sources:
    """Load a data set and part what is compared with from what is spare.

    Named sets have a test split, folders one called val. Where that is too small to measure
    anything, both parts are halves of the training pictures.

    Args:
        source: a name or a folder, as `--data` takes it.
        resolution: side in pixels.
        count: pictures wanted in each part.
        enough: pictures that a split must hold to be compared with.
        seed: of the lot.
        cache_dir: where decoded pictures are kept.
        progress: show a bar while pictures are decoded.

    Raises:
        DataError: the data cannot be used.
        MetricsError: it holds fewer than four pictures.
    """
    options: dict[str, Any] = {
        "resolution": resolution, "cache_dir": cache_dir, "progress": progress,
    }  # fmt: skip
    training = load_pictures(source, **options)
    try:
        split = "test" if named(source)[0] in PICTURE_SETS else "val"
        held = load_pictures(source, split=split, **options)
    except DataError:
        held = training
    apart = held.fingerprint != training.fingerprint and len(held) >= enough
    held = held if apart else training
    if len(held) < 4:
        raise MetricsError("data", source, f"holds {len(held)} pictures", "give 4 or more")
    rows = np.random.default_rng([seed, 1]).permutation(len(held))
    each = min(count, len(held) // 2)
    return Sources(training, np.sort(rows[:each]), np.sort(rows[each : 2 * each]), held, apart)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model is asked with.

    Attributes:
        conditions: one for each picture; None where the seed is all.
        labels: `(n,)` class of each by the data's numbers; None where classes are not asked.
    """

    conditions: tuple[Condition | None, ...]
    labels: NDArray[np.int64] | None = None


def ask(info: PipelineInfo, data: PictureData, rows: NDArray[np.int64], *, seed: int = 0) -> Asked:
    """Choose conditions after real pictures.

    Args:
        info: tells what the model takes.
        data: has captions or labels, where the model takes those.
        rows: `(n,)` pictures of the data, one for each condition.
        seed: of all lots.

    Raises:
        MetricsError: the data have neither the captions nor the labels that the model takes.
    """
    rng = np.random.default_rng([seed, 2])
    kinds = info.conditions
    if "text" in kinds and data.flat_captions:
        counts = np.diff(data.caption_starts)[rows]
        if counts.min() == 0:
            raise MetricsError(
                "data", data.name, "has pictures without a caption", "caption all of them"
            )
        places = data.caption_starts[rows] + rng.integers(counts)
        return Asked(tuple(Text(data.flat_captions[place]) for place in places))
    if "label" in kinds and data.labels is not None:
        unknown = set(data.label_names) - set(info.labels)
        if unknown:
            raise MetricsError(
                "data",
                data.name,
                f"has labels that {info.name} does not know: {', '.join(sorted(unknown)[:8])}",
                f"measure it on data with its own: {', '.join(info.labels[:8])}",
            )
        labels = data.labels[rows].copy()
        labels[labels < 0] = rng.integers(data.classes, size=int((labels < 0).sum()))
        names = tuple(Label(name=data.label_names[label]) for label in labels)
        return Asked(names, labels)
    if "code" in kinds:
        return Asked(tuple(_code(info.code, rng) for _ in rows))
    if "attributes" in kinds:
        return Asked(tuple(_attributes(info.attributes, rng) for _ in rows))
    if not kinds:
        return Asked((None,) * len(rows))
    raise MetricsError(
        "data",
        data.name,
        f"has no {' and no '.join(kinds)}, which {info.name} is asked with",
        "measure it on data like those it learned from",
    )


def words_of(condition: Condition | None) -> str:
    """Return a condition in a few words, for a sheet."""
    match condition:
        case None:
            return "seed alone"
        case Text():
            return condition.text
        case Label():
            return str(condition.name if condition.id is None else condition.id)
        case Code():
            numbers = [f"{number:.2f}" for number in condition.continuous]
            return " ".join([*map(str, condition.categorical), *numbers])
        case Attributes():
            return ", ".join(f"{name} {value}" for name, value in condition.values.items())
    return condition.kind


def _code(parts: Sequence[CodePart], rng: np.random.Generator) -> Code:
    categories = tuple(int(rng.integers(part.size)) for part in parts if part.kind == "categorical")
    numbers = tuple(
        float(rng.uniform(part.low, part.high))
        for part in parts
        if part.kind == "continuous"
        for _ in range(part.size)
    )
    return Code(categories, numbers)


def _attributes(schema: Sequence[Attribute], rng: np.random.Generator) -> Attributes:
    return Attributes(
        {
            each.name: each.values[int(rng.integers(len(each.values)))]
            if each.values
            else float(rng.uniform(each.low, each.high))
            for each in schema
        }
    )


def draw(
    pipeline: Pipeline,
    conditions: Sequence[Condition | None],
    seeds: Sequence[int],
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Draw one picture for each condition and seed: `(n, r, r, 3)` uint8."""
    parts = []
    for start in range(0, len(conditions), AT_ONCE):
        some = conditions[start : start + AT_ONCE]
        embeddings = pipeline.encode(some)
        draws = [
            Draw(embedding, seed, 1.0, 1.0)
            for embedding, seed in zip(embeddings, seeds[start : start + AT_ONCE], strict=True)
        ]
        parts.append(np.stack([stages[-1] for stages in pipeline.draw(draws)]))
        if progress is not None:
            progress(len(some))
    return np.concatenate(parts)


def measure_pictures(
    pipeline: Pipeline,
    sources: Sources,
    settings: PictureSettings | None = None,
    *,
    judge: PictureClassifier | None = None,
    show_progress: bool = True,
) -> tuple[Score, ...]:
    """Measure a bundle against real pictures.

    FID, KID, precision, recall, density and coverage of drawn pictures from real ones; the share
    of drawn pictures that are copies of training pictures; the mean distance between pictures of
    one condition; and, with a judge, how often the label asked for is seen. Each beside what real
    pictures score.

    Args:
        pipeline: the model.
        sources: real pictures, of the model's resolution.
        settings: how much is measured.
        judge: a classifier of the data's labels, see `t2i-train classifier`.
        show_progress: show bars on standard error, if that is a terminal.

    Raises:
        MetricsError: the model cannot be asked after these data, or a setting cannot be used.
    """
    chosen = settings or PictureSettings()
    network = load_features(chosen.features, chosen.resize, chosen.weights)
    data, count = sources.held, len(sources.real)
    asked = ask(pipeline.info, data, sources.real, seed=chosen.seed)
    known = np.random.default_rng([chosen.seed, 3]).permutation(len(sources.training))[: 5 * count]
    with Steps(show=show_progress) as steps:
        bar = steps.start("real pictures", 2 * count)
        reference = PictureReference(
            network, data.pictures[sources.real], data.pictures[sources.spare], progress=bar
        )
        bar = steps.start("drawn pictures", 2 * count)
        seeds = [chosen.seed * 1_000_000 + row for row in range(count)]
        pictures = draw(pipeline, asked.conditions, seeds, bar)
        features = extract(network, pictures, progress=bar)
        scores = list(
            reference.score_features(
                features, subsets=chosen.subsets, subset_size=chosen.subset_size
            )
        )
        if sources.held_out:
            bar = steps.start("training pictures", len(known))
            learned = extract(network, sources.training.pictures[known], progress=bar)
            near = find_neighbours(
                features,
                learned,
                reference.spare,
                count=1,
                network=network.name,
                resize=network.resize,
            )
            scores.append(near.copied)
        if judge is not None and asked.labels is not None:
            scores.append(_class_accuracy(judge, pictures, asked.labels, sources))
        variety = _variety(pipeline, network, sources, asked, chosen, steps.start)
        if variety is not None:
            scores.append(variety)
    return tuple(scores)


def _class_accuracy(
    judge: PictureClassifier,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int64],
    sources: Sources,
) -> Score:
    data = sources.held
    assert data.labels is not None
    if judge.labels != data.label_names:
        raise MetricsError(
            "judge",
            judge.name,
            f"tells {', '.join(judge.labels[:8])} apart, the data have other labels",
            f"train one: t2i-train classifier {data.name} --out FOLDER",
        )
    rows = sources.spare[data.labels[sources.spare] >= 0]
    return class_accuracy(
        judge.all_logits(pictures),
        torch.from_numpy(labels),
        judge.all_logits(np.asarray(data.pictures[rows])),
        torch.from_numpy(data.labels[rows]),
        network=judge.name,
        resize=judge.resize,
    ).as_score()


def _variety(
    pipeline: Pipeline,
    network: FeatureNetwork,
    sources: Sources,
    asked: Asked,
    settings: PictureSettings,
    start: Callable[[str, int], Progress],
) -> Score | None:
    """Mean distance between pictures of one condition; of a label beside the data's own."""
    each = settings.variety_pictures
    conditions = list(dict.fromkeys(asked.conditions))[: settings.variety_conditions]
    bar = start("pictures of one condition", len(conditions) * each)
    repeated = [condition for condition in conditions for _ in range(each)]
    first = settings.seed * 1_000_000 + 500_000
    drawn = draw(pipeline, repeated, range(first, first + len(repeated)), bar)
    groups = drawn.reshape(len(conditions), each, *drawn.shape[1:])
    floor, floor_count = None, 0
    if asked.labels is not None:
        floor, floor_count = _real_variety(network, sources, each)
    return Score(
        name="variety",
        value=float(np.mean([_distance(network, group) for group in groups])),
        floor=floor,
        count=len(repeated),
        floor_count=floor_count,
        network=network.name,
        resize=network.resize,
        better="neither",
        detail={"conditions": len(conditions), "pictures_of_each": each},
    )


def _real_variety(network: FeatureNetwork, sources: Sources, each: int) -> tuple[float | None, int]:
    labels = sources.held.labels
    assert labels is not None
    distances = []
    for label in range(sources.held.classes):
        rows = np.flatnonzero(labels == label)[:each]
        if len(rows) > 1:
            distances.append(_distance(network, sources.held.pictures[rows]))
    return (float(np.mean(distances)), each * len(distances)) if distances else (None, 0)


def _distance(network: FeatureNetwork, pictures: NDArray[np.uint8]) -> float:
    (group,) = batches(pictures, len(pictures))
    return feature_distance(network, group)
