"""Hand-known answers of R-precision, matching score, and of what counts as a wrong caption."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.training.conftest import squares
from training.data.pictures import PictureData
from training.metrics.agreement import AgreementTest, agreement, questions
from training.metrics.errors import MetricsError
from training.metrics.features import Progress
from training.metrics.right_captions import RightCaptions


class Named:
    """A matcher that sees a picture's number in its first pixel, and reads it in the caption."""

    name, resize = "by number", 0

    def see(self, pictures: NDArray[np.uint8], *, progress: Progress | None = None) -> Tensor:
        return torch.eye(256)[torch.from_numpy(pictures[:, 0, 0, 0].astype(np.int64))]

    def read(self, captions: Sequence[str]) -> Tensor:
        return torch.eye(256)[[int(text.split()[-1]) for text in captions]]


class Blind(Named):
    """Sees the same in every picture."""

    name = "blind"

    def see(self, pictures: NDArray[np.uint8], *, progress: Progress | None = None) -> Tensor:
        return torch.ones(len(pictures), 256) / 16


def numbered(count: int) -> tuple[list[str], NDArray[np.uint8]]:
    pictures = np.zeros((count, 2, 2, 3), np.uint8)
    pictures[:, 0, 0, 0] = np.arange(count)
    return [f"number {place}" for place in range(count)], pictures


def asked(count: int, choices: int = 100, matcher: Named | None = None) -> AgreementTest:
    texts, pictures = numbered(count)
    chosen = questions(texts, np.eye(count, dtype=bool), choices=choices)
    return AgreementTest(matcher or Named(), chosen, pictures, np.arange(count))


def test_a_perfect_matcher_finds_every_caption_and_none_of_the_shuffled() -> None:
    test = asked(200)
    precision, matching = test.ask(numbered(200)[1])
    assert (precision.value, precision.floor) == (1.0, 1.0)
    assert precision.shuffled is not None and precision.shuffled < 0.01
    assert (matching.value, matching.floor, matching.shuffled) == (1.0, 1.0, 0.0)
    assert precision.detail == {"choices": 100} and precision.count == 200


def test_a_matcher_that_sees_nothing_scores_one_in_a_hundred() -> None:
    precision, _ = asked(150, matcher=Blind()).ask(numbered(150)[1])
    assert precision.value == pytest.approx(0.01) == precision.shuffled


def test_captions_that_lie_equally_near_share_the_hit_and_a_nearer_one_takes_it() -> None:
    axes = torch.eye(2)
    seen, read = axes[[0, 1, 0]], axes[[0, 1, 1]]
    found = agreement(seen, read, np.array([[1, 2], [0, 2], [0, 1]]))
    # The first finds its own, the second shares it with the third, the third sees the first's.
    assert found.r_precision == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert found.matching == pytest.approx(2 / 3)


def test_drawn_pictures_stand_beside_the_real_ones_of_the_same_captions() -> None:
    test = asked(50)
    drawn = numbered(50)[1]
    drawn[:25] = drawn[49]
    precision, _ = test.ask(drawn)
    assert (precision.floor, precision.value, precision.floor_count) == (1.0, 0.5, 50)


def test_wrong_captions_are_never_right_nor_alike_and_equally_many_for_all() -> None:
    texts = [f"number {place // 2}" for place in range(40)]
    right = np.eye(40, dtype=bool)
    right[0, 10:40] = True
    made = questions(texts, right, choices=100)
    # For the first: not its own text, not 15 that are right for it; 4 others are left.
    assert made.choices == 5
    for row, wrong in enumerate(made.wrong):
        words = [texts[place] for place in wrong]
        assert len(set(words)) == len(words) and texts[row] not in words
        assert not right[row, wrong].any()
    again = questions(texts, right, choices=100)
    assert np.array_equal(made.wrong, again.wrong)


def test_captions_that_all_read_the_same_cannot_be_told_apart() -> None:
    with pytest.raises(MetricsError, match="no wrong one"):
        questions(["a bird"] * 5, np.eye(5, dtype=bool))


def test_a_caption_is_right_for_every_picture_that_came_with_the_same_words() -> None:
    data = squares(6)
    right = RightCaptions(data).pairs(np.arange(6), np.arange(12))
    assert data.labels is not None
    same = data.labels[:, None] == data.labels[data.caption_owners][None, :]
    assert np.array_equal(right, same)


def test_what_the_data_know_decides_which_captions_are_right() -> None:
    class OnlyTheFirst:
        def holds(
            self, pictures: NDArray[np.int64], captions: NDArray[np.int64]
        ) -> NDArray[np.bool_]:
            return captions == 0

        def agreement(
            self, pictures: NDArray[np.int64], captions: NDArray[np.int64]
        ) -> NDArray[np.float32]:
            raise AssertionError

    data = replace(squares(4), truth=OnlyTheFirst())
    right = RightCaptions(data).pairs(np.arange(4), np.arange(8))
    expected = np.repeat(np.eye(4, dtype=bool), 2, axis=1)
    expected[:, 0] = True
    assert np.array_equal(right, expected)


def test_a_picture_without_caption_is_refused() -> None:
    data = squares(3)
    bare = PictureData("bare", "0" * 64, data.pictures, (("a",), (), ("b",)))
    with pytest.raises(MetricsError, match="no caption for 1 of its 3"):
        RightCaptions(bare)
