"""What a model is asked with after real pictures: captions, labels, codes, attributes, seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2i.attributes import Attribute
from t2i.codes import CodePart
from t2i.conditions import Attributes, Code, Condition, Label, Text
from t2i.pipeline import Draw, Pipeline, PipelineInfo
from training.data.pictures import PictureData
from training.metrics.errors import MetricsError
from training.metrics.features import Progress

AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model is asked with.

    Attributes:
        conditions: one for each picture; None where the seed is all.
        labels: `(n,)` class of each by the data's numbers; None where classes are not asked.
        captions: `(n,)` flat number of each caption; None where captions are not asked.
    """

    conditions: tuple[Condition | None, ...]
    labels: NDArray[np.int64] | None = None
    captions: NDArray[np.int64] | None = None


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
        return Asked(_texts(data, places), captions=places)
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


def ask_more(asked: Asked, data: PictureData, others: NDArray[np.int64], *, count: int) -> Asked:
    """Ask with more captions until there are enough: of other pictures, then the next ones of all.

    Args:
        asked: with one caption of each of some pictures; those stay the first.
        data: what they are captions of.
        others: `(m,)` other pictures of the data.
        count: captions wanted; there may not be as many, and those there are stay anyhow.

    Raises:
        MetricsError: the model is not asked with captions.
    """
    if asked.captions is None:
        raise MetricsError(
            "captions",
            data.name,
            "are not what the model is asked with",
            "measure how it agrees with captions on a model that takes text",
        )
    owners = np.concatenate([data.caption_owners[asked.captions], others])
    starts, counts = data.caption_starts[owners], np.diff(data.caption_starts)[owners]
    first = np.zeros(len(owners), np.int64)
    first[: len(asked.captions)] = asked.captions - starts[: len(asked.captions)]
    places = [
        (starts + (first + turn) % np.maximum(counts, 1))[counts > turn]
        for turn in range(int(counts.max()))
    ]
    chosen = np.concatenate(places)[: max(count, len(asked.captions))]
    return Asked(_texts(data, chosen), captions=chosen)


def _texts(data: PictureData, captions: NDArray[np.int64]) -> tuple[Text, ...]:
    return tuple(Text(data.flat_captions[number]) for number in captions.tolist())


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
