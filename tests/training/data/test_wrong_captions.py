"""A wrong caption is never true of its picture, as far as anything is known about truth."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.errors import DataError
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions

COLOURS = ("red", "blue", "green", "white", "black")


class ColourTruth:
    """A caption is true of a picture when their colours agree."""

    def __init__(self, pictures: NDArray[np.int64], captions: NDArray[np.int64]) -> None:
        self._pictures, self._captions = pictures, captions

    def holds(self, pictures: NDArray[np.int64], captions: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(self._pictures[pictures] == self._captions[captions])

    def agreement(
        self, pictures: NDArray[np.int64], captions: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        apart = np.abs(self._pictures[pictures][:, None] - self._captions[captions])
        return (1.0 / (1.0 + apart)).astype(np.float32)


def coloured(count: int, colours: int = len(COLOURS)) -> tuple[PictureData, NDArray[np.int64]]:
    """Pictures that repeat the colours, with one to three captions each."""
    colour = np.arange(count) % colours
    captions = tuple(
        tuple(f"bird {index} is {COLOURS[colour[index]]}, {word}" for word in range(1 + index % 3))
        for index in range(count)
    )
    data = PictureData("coloured", "0", np.zeros((count, 4, 4, 3), np.uint8), captions)
    return data, colour


def embed(data: PictureData, colour: NDArray[np.int64], noise: float = 0.05) -> NDArray[np.float32]:
    """Embeddings that all point one way and differ a little by colour, as sentences do."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(len(COLOURS), 32)) * 0.2
    rows = 5.0 + centres[colour[data.caption_owners]]
    rows = rows + noise * 0.2 * rng.normal(size=rows.shape)
    return rows.astype(np.float32)


def test_truth_decides_where_the_data_set_carries_it() -> None:
    data, colour = coloured(60)
    truth = ColourTruth(colour, colour[data.caption_owners])
    data = dataclasses.replace(data, truth=truth)
    wrong = WrongCaptions(data, np.zeros((len(data.flat_captions), 2), np.float32))
    pictures = np.tile(np.arange(60), 50)
    drawn = wrong.draw(pictures, np.random.default_rng(0))
    assert not truth.holds(pictures, drawn).any()
    assert np.unique(drawn).size == len(data.flat_captions)


def test_truth_is_searched_when_nearly_every_caption_is_true() -> None:
    data, colour = coloured(400, colours=1)
    colour = colour.copy()
    colour[123] = 1
    truth = ColourTruth(colour, colour[data.caption_owners])
    data = dataclasses.replace(data, truth=truth)
    wrong = WrongCaptions(data, np.zeros((len(data.flat_captions), 2), np.float32), redraws=1)
    drawn = wrong.draw(np.zeros(20, np.int64), np.random.default_rng(0))
    assert set(data.caption_owners[drawn]) == {123}


def test_a_picture_of_which_every_caption_is_true_is_an_error() -> None:
    data, colour = coloured(10, colours=1)
    data = dataclasses.replace(data, truth=ColourTruth(colour, colour[data.caption_owners]))
    wrong = WrongCaptions(data, np.zeros((len(data.flat_captions), 2), np.float32))
    with pytest.raises(DataError, match="every caption is true of picture 3"):
        wrong.draw(np.array([3]), np.random.default_rng(0))


def test_hard_captions_are_the_nearest_that_are_not_true() -> None:
    data, colour = coloured(500)
    truth = ColourTruth(colour, colour[data.caption_owners])
    data = dataclasses.replace(data, truth=truth)
    wrong = WrongCaptions(data, np.zeros((len(data.flat_captions), 2), np.float32))
    pictures = np.tile(np.arange(500), 4)
    drawn = wrong.draw_hard(pictures, np.random.default_rng(0))
    apart = np.abs(colour[pictures] - colour[data.caption_owners[drawn]])
    assert set(apart.tolist()) == {1}
    assert np.unique(drawn).size > 50
    again = wrong.draw_hard(pictures, np.random.default_rng(0))
    assert np.array_equal(drawn, again)


def test_hard_captions_without_truth_are_near_but_below_the_threshold() -> None:
    data, colour = coloured(200)
    wrong = WrongCaptions(data, embed(data, colour), quantile=0.75)
    pictures = np.arange(200)
    drawn = wrong.draw_hard(pictures, np.random.default_rng(0))
    plain = wrong.draw(pictures, np.random.default_rng(0))
    assert (colour[data.caption_owners[drawn]] != colour[pictures]).all()
    right = data.caption_starts[:-1]
    ones = np.ones(200, np.int64)
    hard, easy = (wrong._similarity(right, each, ones).mean() for each in (drawn, plain))
    assert hard > easy + 0.05


def test_hard_captions_are_plain_wrong_ones_where_few_are_wrong() -> None:
    data, colour = coloured(400, colours=1)
    colour = colour.copy()
    colour[123] = 1
    data = dataclasses.replace(data, truth=ColourTruth(colour, colour[data.caption_owners]))
    wrong = WrongCaptions(data, np.zeros((len(data.flat_captions), 2), np.float32))
    drawn = wrong.draw_hard(np.zeros(20, np.int64), np.random.default_rng(0))
    assert set(data.caption_owners[drawn]) == {123}


def test_labels_draw_from_every_other_class_and_never_from_the_own() -> None:
    data, colour = coloured(50)
    data = dataclasses.replace(data, labels=colour.astype(np.int64), label_names=COLOURS)
    # Embeddings without meaning: only the labels can keep the classes apart.
    rows = np.random.default_rng(2).normal(size=(len(data.flat_captions), 16)).astype(np.float32)
    wrong = WrongCaptions(data, rows, quantile=1.0)
    pictures = np.tile(np.arange(50), 100)
    drawn = wrong.draw(pictures, np.random.default_rng(0))
    theirs = colour[data.caption_owners[drawn]]
    assert (theirs != colour[pictures]).all()
    pairs = set(zip(colour[pictures].tolist(), theirs.tolist(), strict=True))
    assert len(pairs) == 5 * 4


def test_pictures_without_a_label_may_draw_from_every_class() -> None:
    data, colour = coloured(50)
    labels = colour.astype(np.int64)
    labels[7] = -1
    data = dataclasses.replace(data, labels=labels, label_names=COLOURS)
    rows = np.random.default_rng(2).normal(size=(len(data.flat_captions), 16)).astype(np.float32)
    wrong = WrongCaptions(data, rows, quantile=1.0)
    drawn = wrong.draw(np.full(500, 7), np.random.default_rng(0))
    owners = data.caption_owners[drawn]
    assert 7 not in owners
    assert {2} < set(colour[owners].tolist())


def test_captions_with_a_near_embedding_are_never_drawn() -> None:
    data, colour = coloured(60)
    wrong = WrongCaptions(data, embed(data, colour), quantile=0.75)
    pictures = np.tile(np.arange(60), 50)
    drawn = wrong.draw(pictures, np.random.default_rng(0))
    assert (colour[data.caption_owners[drawn]] != colour[pictures]).all()


def test_standardising_tells_apart_what_raw_cosines_cannot() -> None:
    data, colour = coloured(60)
    rows = embed(data, colour)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert (unit @ unit.T).min() > 0.99
    wrong = WrongCaptions(data, rows)
    wrong.threshold = 0.5
    pairs = wrong.true_pairs(np.arange(60), data.caption_starts[:-1])
    assert np.array_equal(pairs, colour[:, None] == colour[None, :])


def test_the_quantile_is_the_share_of_random_captions_that_stay() -> None:
    rng = np.random.default_rng(3)
    captions = tuple((f"caption {index}",) for index in range(2000))
    data = PictureData("random", "0", np.zeros((2000, 4, 4, 3), np.uint8), captions)
    rows = rng.normal(size=(2000, 16)).astype(np.float32)
    wrong = WrongCaptions(data, rows, quantile=0.8)
    pairs = wrong.true_pairs(np.arange(500), np.arange(1000, 2000))
    assert pairs.mean() == pytest.approx(0.2, abs=0.02)


def test_the_same_text_is_right_whoever_wrote_it() -> None:
    captions = (("a bird",), ("a bird",), ("a fish", "a bird"), ("a stone",))
    data = PictureData("same", "0", np.zeros((4, 4, 4, 3), np.uint8), captions)
    rows = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    wrong = WrongCaptions(data, rows, quantile=1.0)
    drawn = wrong.draw(np.zeros(200, np.int64), np.random.default_rng(0))
    assert {data.flat_captions[index] for index in drawn} == {"a fish", "a stone"}
    assert wrong.true_pairs(np.array([0, 3]), np.arange(5)).tolist() == [
        [True, True, False, True, False],
        [False, False, False, False, True],
    ]


def test_when_all_captions_are_near_the_least_near_is_drawn() -> None:
    captions = (("one",), ("two",), ("three",))
    data = PictureData("near", "0", np.zeros((3, 4, 4, 3), np.uint8), captions)
    rows = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], np.float32)
    wrong = WrongCaptions(data, rows, quantile=0.01)
    wrong.threshold = -1.0 - 1e-3
    drawn = wrong.draw(np.zeros(5, np.int64), np.random.default_rng(0))
    assert {data.flat_captions[index] for index in drawn} == {"three"}


def test_the_same_generator_state_draws_the_same_captions() -> None:
    data, colour = coloured(60)
    wrong = WrongCaptions(data, embed(data, colour))
    rng = np.random.default_rng(5)
    wrong.draw(np.arange(60), rng)
    state = rng.bit_generator.state
    first = wrong.draw(np.arange(60), rng)
    resumed = np.random.default_rng(99)
    resumed.bit_generator.state = state
    assert np.array_equal(first, wrong.draw(np.arange(60), resumed))


def test_true_pairs_asks_the_truth_about_every_pair() -> None:
    data, colour = coloured(12)
    captions = np.array([0, 3, 5, 9])
    of_caption = colour[data.caption_owners]
    data = dataclasses.replace(data, truth=ColourTruth(colour, of_caption))
    wrong = WrongCaptions(data, np.zeros((len(data.flat_captions), 2), np.float32))
    pairs = wrong.true_pairs(np.arange(12), captions)
    assert np.array_equal(pairs, colour[:, None] == of_caption[captions][None, :])


def test_true_pairs_of_one_class_count_as_true() -> None:
    data, colour = coloured(20)
    data = dataclasses.replace(data, labels=colour.astype(np.int64), label_names=COLOURS)
    rows = np.random.default_rng(2).normal(size=(len(data.flat_captions), 16)).astype(np.float32)
    wrong = WrongCaptions(data, rows, quantile=1.0)
    firsts = data.caption_starts[:-1]
    assert np.array_equal(
        wrong.true_pairs(np.arange(20), firsts), colour[:, None] == colour[None, :]
    )


def test_pictures_without_captions_are_refused() -> None:
    data = PictureData("bare", "0", np.zeros((2, 4, 4, 3), np.uint8), (("one",), ()))
    with pytest.raises(DataError, match="1 of 2 pictures have no caption"):
        WrongCaptions(data, np.zeros((1, 2), np.float32))


def test_a_data_set_with_one_caption_is_refused() -> None:
    data = PictureData("same", "0", np.zeros((2, 4, 4, 3), np.uint8), (("one",), ("one",)))
    with pytest.raises(DataError, match="all captions read 'one'"):
        WrongCaptions(data, np.zeros((2, 2), np.float32))


def test_embeddings_of_other_captions_are_refused() -> None:
    data, colour = coloured(6)
    with pytest.raises(InvalidInput, match=r"embeddings: do not belong to the \d+ captions"):
        WrongCaptions(data, embed(data, colour)[:-1])


def test_a_batch_of_64_takes_about_a_millisecond() -> None:
    rng = np.random.default_rng(0)
    captions = tuple(tuple(f"caption {i} {j}" for j in range(5)) for i in range(4000))
    data = PictureData("many", "0", np.zeros((4000, 1, 1, 3), np.uint8), captions)
    wrong = WrongCaptions(data, rng.normal(size=(20_000, 384)).astype(np.float32))
    pictures = rng.integers(0, 4000, size=(40, 64))
    times = []
    for batch in pictures:
        begin = time.thread_time()
        wrong.draw(batch, rng)
        times.append(time.thread_time() - begin)
    # Processor time, ten times what it takes on an idle machine: this guards against loops.
    assert min(times) < 0.02
