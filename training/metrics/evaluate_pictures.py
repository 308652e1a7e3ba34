"""Measures a bundle against any data set of pictures: fidelity, agreement, variety, copies.

The bundle is asked with what it takes: captions or labels of real pictures, codes or attributes by
lot, or nothing but a seed. Illustrated birds, of which everything is known, are measured by
`training.metrics.evaluate_birds` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i.pipeline import Pipeline
from training.data.pictures import PictureData
from training.metrics.agreement import AgreementTest, Matcher, questions
from training.metrics.asking import Asked, ask, ask_more, draw
from training.metrics.classes import class_accuracy
from training.metrics.errors import MetricsError
from training.metrics.features import FeatureNetwork, Progress, batches, extract, load_features
from training.metrics.latent import write_neighbours
from training.metrics.neighbours import Neighbours, find_neighbours
from training.metrics.picture_classifier import PictureClassifier
from training.metrics.pictures import PictureReference
from training.metrics.progress import Steps
from training.metrics.right_captions import RightCaptions
from training.metrics.score import Score, averaged
from training.metrics.sources import Sources
from training.metrics.variety import feature_distance

# Draws of the figures and of the variety must not share seeds, nor two seeds' draws.
_SEED_STRIDE = 1_000_000
_VARIETY_OFFSET = 500_000
_NEAREST = 5
# Training pictures searched at least, where there are as many.
_SEARCHED = 2000


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """How much is measured.

    Attributes:
        count: pictures drawn for every seed: one for each real picture that is asked after, and
            with a matcher more captions of theirs where the pictures are fewer.
        seeds: of the generator; spreads are over them.
        features: `lite0`, `inception` or `classifier`.
        resize: side to which pictures are brought for it; None for the network's usual one.
        weights: of `inception` (a file) or `classifier` (a folder).
        subsets: of KID.
        subset_size: pictures in each.
        variety_conditions: captions or labels for which several pictures are drawn.
        variety_pictures: how many.
    """

    count: int = 2000
    seeds: tuple[int, ...] = (0,)
    features: str = "lite0"
    resize: int | None = 128
    weights: Path | None = None
    subsets: int = 100
    subset_size: int = 500
    variety_conditions: int = 50
    variety_pictures: int = 8

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise MetricsError(
                "seeds", self.seeds, f"{self.seeds} are not different numbers from 0", "use 0 1 2"
            )


@dataclass(frozen=True, slots=True)
class Nearest:
    """Drawn pictures beside the training pictures that they come nearest to.

    Attributes:
        pictures: (n, h, w, c) uint8, of the first seed.
        training: (m, h, w, c) uint8 that were searched.
        found: which of these are nearest.
    """

    pictures: NDArray[np.uint8]
    training: NDArray[np.uint8]
    found: Neighbours

    def write(self, path: Path, *, limit: int = 16) -> Path:
        """Write a sheet of the drawn pictures that come nearest, the nearest first.

        Raises:
            MetricsError: the path cannot be written to.
        """
        order = np.argsort(self.found.distances[:, 0], kind="stable")[:limit]
        rows = self.found.rows[order]
        return write_neighbours(
            path, self.pictures[order], self.training, rows, cell=96, limit=limit
        )


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured on one split.

    Attributes:
        scores: means over the seeds; those of unseen pictures say so in their names.
        nearest: None where training pictures were not searched.
    """

    scores: tuple[Score, ...]
    nearest: Nearest | None = None


def measure_pictures(
    pipeline: Pipeline,
    sources: Sources,
    settings: PictureSettings | None = None,
    *,
    judge: PictureClassifier | None = None,
    matcher: Matcher | None = None,
    search: bool = False,
    show_progress: bool = True,
) -> Measurement:
    """Measure a bundle against real pictures.

    FID, KID, precision, recall, density and coverage of drawn pictures from real ones; the share
    of drawn pictures that are copies of training pictures; the mean distance between pictures of
    one condition; with a judge, how often the label asked for is seen; and with a matcher, how well
    pictures agree with their captions. Each beside what real pictures score.

    Args:
        pipeline: the model.
        sources: real pictures, of the model's resolution.
        settings: how much is measured.
        judge: a classifier of the data's labels, see `t2i-train classifier`.
        matcher: of pictures and captions, see `t2i-train matcher`.
        search: search the training pictures even where copies cannot be counted, since there are
            no held-out ones of their kind.
        show_progress: show bars on standard error, if that is a terminal.

    Raises:
        MetricsError: the model cannot be asked after these data, or a setting cannot be used.
    """
    chosen = settings or PictureSettings()
    network = load_features(chosen.features, chosen.resize, chosen.weights)
    data, count = sources.held, len(sources.real)
    first = ask(pipeline.info, data, sources.real)
    asked = first
    if matcher is not None:
        asked = ask_more(first, data, sources.others, count=chosen.count)
    found: dict[str, dict[int, Score]] = {}
    nearest: Nearest | None = None
    with Steps(show=show_progress) as steps:
        bar = steps.start("real pictures", 2 * count)
        reference = PictureReference(
            network,
            data.pictures[sources.real],
            sources.spare_of.pictures[sources.spare],
            progress=bar,
        )
        test = None if matcher is None else _agreement_test(matcher, data, asked, steps)
        searched = None
        if search or _counts_copies(sources):
            searched = _training_features(network, sources, max(_SEARCHED, 5 * count), steps)
        real_variety: tuple[float | None, int] = (None, 0)
        if first.labels is not None:
            real_variety = _real_variety(network, sources, chosen.variety_pictures)
        for seed in chosen.seeds:
            total = (2 if test is None else 3) * len(asked.conditions)
            bar = steps.start(f"drawn pictures, seed {seed}", total)
            seeds = [seed * _SEED_STRIDE + row for row in range(len(asked.conditions))]
            pictures = draw(pipeline, asked.conditions, seeds, bar)
            features = extract(network, pictures[:count], progress=bar)
            scores = list(
                reference.score_features(
                    features, subsets=chosen.subsets, subset_size=chosen.subset_size
                )
            )
            if searched is not None:
                near = _find(features, searched[1], reference, sources)
                if _counts_copies(sources):
                    scores.append(near.copied)
                if nearest is None:
                    nearest = Nearest(pictures[:count], searched[0], near)
            if judge is not None and first.labels is not None:
                scores.append(_class_accuracy(judge, pictures[:count], first.labels, sources))
            if test is not None:
                scores += test.ask(pictures, progress=bar)
            value = _variety(pipeline, network, first, chosen, seed, steps.start)
            scores.append(replace(value, floor=real_variety[0], floor_count=real_variety[1]))
            for score in scores:
                found.setdefault(score.name, {})[seed] = score
    made = [averaged(each) for each in found.values()]
    if sources.split == "unseen":
        made = [replace(score, name=f"{score.name}, unseen") for score in made]
    return Measurement(tuple(made), nearest)


def _counts_copies(sources: Sources) -> bool:
    """Whether held-out pictures tell how near a picture of one's own comes to training pictures.

    Unseen ones do not: they are of another kind, and further away.
    """
    return sources.held_out and sources.split == "val"


def _training_features(
    network: FeatureNetwork, sources: Sources, count: int, steps: Steps
) -> tuple[NDArray[np.uint8], Tensor]:
    known = np.random.default_rng([0, 3]).permutation(len(sources.training))[:count]
    pictures = sources.training.pictures[known]
    bar = steps.start("training pictures", len(known))
    return pictures, extract(network, pictures, progress=bar)


def _find(
    features: Tensor, training: Tensor, reference: PictureReference, sources: Sources
) -> Neighbours:
    # What the floor is made of may be training pictures, which lie at distance 0 from themselves.
    held_out = reference.real if sources.floor_is_training else reference.spare
    return find_neighbours(
        features,
        training,
        held_out,
        count=min(_NEAREST, len(training)),
        network=reference.network.name,
        resize=reference.network.resize,
    )


def _agreement_test(
    matcher: Matcher, data: PictureData, asked: Asked, steps: Steps
) -> AgreementTest:
    assert asked.captions is not None
    owners = data.caption_owners[asked.captions]
    texts = [data.flat_captions[number] for number in asked.captions.tolist()]
    right = RightCaptions(data).pairs(owners, asked.captions)
    pictures, rows = np.unique(owners, return_inverse=True)
    bar = steps.start("real pictures, matched", len(pictures))
    return AgreementTest(
        matcher, questions(texts, right), data.pictures[pictures], rows, progress=bar
    )


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
    # The judge learned from training pictures, so its own accuracy is taken on others.
    spare = sources.real if sources.floor_is_training else sources.spare
    rows = spare[data.labels[spare] >= 0]
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
    asked: Asked,
    settings: PictureSettings,
    seed: int,
    start: Callable[[str, int], Progress],
) -> Score:
    """Mean distance between pictures of one condition; its floor is put in by whoever knows."""
    each = settings.variety_pictures
    conditions = list(dict.fromkeys(asked.conditions))[: settings.variety_conditions]
    bar = start(f"pictures of one condition, seed {seed}", len(conditions) * each)
    repeated = [condition for condition in conditions for _ in range(each)]
    first = seed * _SEED_STRIDE + _VARIETY_OFFSET
    drawn = draw(pipeline, repeated, range(first, first + len(repeated)), bar)
    groups = drawn.reshape(len(conditions), each, *drawn.shape[1:])
    return Score(
        name="variety",
        value=float(np.mean([_distance(network, group) for group in groups])),
        floor=None,
        count=len(repeated),
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
