"""Trains a matcher of pictures and captions to measure with."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.pictures import PictureData
from training.matching import several_captions_loss
from training.metrics.agreement import CHOICES, agreement, questions
from training.metrics.errors import MetricsError
from training.metrics.features import Progress
from training.metrics.learning import Learning
from training.metrics.picture_matcher import (
    Eyes,
    Learned,
    MatcherNetwork,
    PictureMatcher,
    Seen,
    Sizes,
    Tested,
    vocabulary_of,
)
from training.metrics.right_captions import RightCaptions

# What is seen of a picture is kept in memory, 35 kB each.
MOST = 10_000

Progresses = tuple[Progress | None, Progress | None]


@dataclass(frozen=True, slots=True)
class MatcherTraining:
    """The knobs of `train_matcher`.

    Attributes:
        kimg: thousands of pictures shown; they are looked at once, so this costs little.
        batch: pictures in a step, at most as many as there are.
        own: captions of each picture in a step, at most as many as it has.
        learning_rate: the peak of a one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        sizes: of the heads.
        seed: of the choice of pictures, the weights and the batches.
    """

    kimg: float = 48.0
    batch: int = 160
    own: int = 4
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 2 or self.own < 1 or self.kimg * 1000 < self.batch:
            raise MetricsError("kimg", self.kimg, "is less than one batch", "train for longer")

    @property
    def steps(self) -> int:
        """Batches shown; at least ten, which the schedule needs."""
        return max(10, math.ceil(self.kimg * 1000 / self.batch))


def train_matcher(
    data: PictureData,
    training: MatcherTraining | None = None,
    *,
    count: int | None = None,
    test_count: int | None = None,
    data_seed: int | None = None,
    progress: Progresses = (None, None),
) -> PictureMatcher:
    """Train a matcher on some pictures, and test it on others of the same data.

    A picture must pick its captions among those of a batch that nobody knows to be right for it,
    and a caption its picture: the contrastive loss of `several_captions_loss`, symmetric, in which
    captions that read the same, or that the data know to be true, are not wrong.

    Args:
        data: pictures with captions.
        training: the knobs.
        count: pictures to learn from; None for all but those of the test, at most `MOST`.
        test_count: pictures to be tested on; None for a tenth, at most 1,000.
        data_seed: what drawn data were drawn with, to be kept with the matcher.
        progress: called with the number of pictures looked at, and with that of pictures shown.

    Raises:
        MetricsError: there are too few pictures, some have no caption, or the loss stops being a
            number.
    """
    knobs = training or MatcherTraining()
    right = RightCaptions(data)
    spare = min(1000, max(2, len(data) // 10)) if test_count is None else test_count
    if spare < 2 or len(data) < spare + (count or 4):
        raise MetricsError(
            "count",
            count,
            f"and {spare} to be tested on do not fit the {len(data)} pictures of {data.name}",
            "use fewer",
        )
    order = np.random.default_rng(knobs.seed).permutation(len(data))
    tested, learnt = np.sort(order[:spare]), np.sort(order[spare:][: count or MOST])
    vocabulary = vocabulary_of(text for row in learnt.tolist() for text in data.captions[row])
    # Dropout and weights take the global state, which is given back as it was.
    with torch.random.fork_rng(devices=[]):
        eyes = Eyes()
        seen = eyes.look(data.pictures[learnt], progress=progress[0])
        torch.manual_seed(knobs.seed)
        network = MatcherNetwork(vocabulary, knobs.sizes)
        network.looking.fit(seen)
        _learn(network, data, right, learnt, seen, knobs, progress[1])
    learned = Learned(
        data=data.name,
        fingerprint=data.fingerprint,
        resolution=data.resolution,
        of=len(data),
        tested=spare,
        pictures=len(learnt),
        seed=knobs.seed,
        data_seed=data_seed,
    )
    made = PictureMatcher(
        network, vocabulary, knobs.sizes, learned, Tested(0.0, 0.0, 0, 0), asdict(knobs), eyes
    )
    made.tested = _test(made, data, right, tested, knobs.seed, eyes, progress[0])
    return made


def _learn(
    network: MatcherNetwork,
    data: PictureData,
    right: RightCaptions,
    learnt: NDArray[np.int64],
    seen: Seen,
    knobs: MatcherTraining,
    progress: Progress | None,
) -> None:
    rng = np.random.default_rng([knobs.seed, 6])
    size = min(knobs.batch, len(learnt))
    flat: dict[int, Tensor] = {}
    learning = Learning(network, knobs, rise=0.15)
    network.train()
    for _ in range(knobs.steps):
        places = rng.choice(len(learnt), size, replace=False)
        rows = learnt[places]
        own = [_some(data, row, knobs.own, rng) for row in rows.tolist()]
        captions = np.concatenate(own)
        owner = np.repeat(np.arange(size), [len(each) for each in own])
        for number in captions.tolist():
            if number not in flat:
                flat[number] = network.numbers(data.flat_captions[number])
        loss = several_captions_loss(
            network.looking(seen.at(torch.from_numpy(places))),
            network.reading([flat[number] for number in captions.tolist()]),
            torch.from_numpy(owner),
            torch.from_numpy(right.pairs(rows, captions)),
            network.scale,
        )
        learning.step(loss)
        if progress is not None:
            progress(size)
    network.eval()


def _some(data: PictureData, row: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return flat numbers of some captions of a picture, by lot."""
    start, stop = data.caption_starts[row : row + 2].tolist()
    chosen = rng.choice(stop - start, min(most, stop - start), replace=False)
    return np.asarray(start + chosen, np.int64)


def _test(
    made: PictureMatcher,
    data: PictureData,
    right: RightCaptions,
    tested: NDArray[np.int64],
    seed: int,
    eyes: Eyes,
    progress: Progress | None,
) -> Tested:
    """Ask after one caption of each picture that it did not learn from."""
    rng = np.random.default_rng([seed, 7])
    flat = np.concatenate([_some(data, row, 1, rng) for row in tested.tolist()])
    captions = [data.flat_captions[number] for number in flat]
    asked = questions(captions, right.pairs(tested, flat), choices=CHOICES, seed=seed)
    seen = made.judge(eyes.look(data.pictures[tested], progress=progress))
    read = made.read(captions)
    real = agreement(seen, read, asked.wrong)
    shuffled = agreement(seen.roll(1, dims=0), read, asked.wrong)
    return Tested(real.r_precision, shuffled.r_precision, asked.choices, len(captions))
