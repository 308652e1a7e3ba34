"""A batch is a function of the seed and the step, and of nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from t2i.errors import InvalidInput
from training.data.batches import BatchIndices, PictureBatches
from training.data.errors import DataError
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions


def numbered(count: int, captions: int = 3) -> PictureData:
    """Pictures whose pixels tell their number and column."""
    pictures = np.zeros((count, 4, 4, 3), np.uint8)
    pictures[..., 0] = np.arange(count)[:, None, None]
    pictures[..., 1] = np.arange(4)[None, None, :] * 60
    texts = tuple(tuple(f"picture {i}, words {j}" for j in range(captions)) for i in range(count))
    return PictureData("numbered", "0", pictures, texts)


def stream(count: int = 50, seed: int = 0) -> PictureBatches:
    """A stream with wrong captions over `count` pictures."""
    data = numbered(count)
    rows = np.random.default_rng(1).normal(size=(len(data.flat_captions), 8))
    return PictureBatches(data, WrongCaptions(data, rows.astype(np.float32)), seed=seed)


def parts(batch: BatchIndices) -> list[np.ndarray]:
    """All arrays of a batch."""
    assert batch.right is not None and batch.wrong is not None
    return [batch.pictures, batch.right, batch.wrong, batch.flips]


def test_a_step_can_be_entered_without_those_before_it() -> None:
    walked = stream()
    for step in range(20):
        last = walked.batch(step, 16)
    for here, there in zip(parts(last), parts(stream().batch(19, 16)), strict=True):
        assert np.array_equal(here, there)


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_ranks_share_out_the_batch_of_one_process(world_size: int) -> None:
    whole = parts(stream().batch(7, 16))
    shares = [parts(stream().batch(7, 16, rank, world_size)) for rank in range(world_size)]
    for index, expected in enumerate(whole):
        assert np.array_equal(np.concatenate([share[index] for share in shares]), expected)


def test_every_picture_is_shown_once_an_epoch_over_the_edges_of_batches() -> None:
    batches = stream(50)
    shown = np.concatenate([batches.batch(step, 16).pictures for step in range(25)])
    for epoch in range(8):
        assert np.array_equal(np.sort(shown[epoch * 50 : (epoch + 1) * 50]), np.arange(50))
    assert not np.array_equal(shown[:50], shown[50:100])
    assert batches.batch(3, 16).epoch == 0
    assert batches.batch(4, 16).epoch == 1


def test_a_batch_may_exceed_the_data_set() -> None:
    assert np.array_equal(np.bincount(stream(5).batch(0, 20).pictures), np.full(5, 4))


def test_right_captions_are_the_pictures_own_and_all_come_up() -> None:
    batches = stream(20)
    seen = set()
    for step in range(40):
        batch = batches.batch(step, 20)
        assert batch.right is not None and batch.wrong is not None
        assert np.array_equal(batches.data.caption_owners[batch.right], batch.pictures)
        assert (batches.data.caption_owners[batch.wrong] != batch.pictures).all()
        seen |= set(batch.right.tolist())
    assert len(seen) == 60


def test_seeds_differ_in_order_captions_and_flips() -> None:
    one, other = parts(stream(seed=0).batch(0, 50)), parts(stream(seed=1).batch(0, 50))
    assert all(not np.array_equal(here, there) for here, there in zip(one, other, strict=True))


def test_flips_mirror_left_and_right_only_where_told() -> None:
    batches = stream()
    batch = batches.batch(0, 32)
    assert batch.flips.any() and not batch.flips.all()
    shown = batches.pictures(batch)
    assert shown.shape == (32, 3, 4, 4) and shown.dtype == torch.float32
    plain = torch.from_numpy(batches.data.pictures[batch.pictures]).permute(0, 3, 1, 2)
    expected = torch.where(torch.from_numpy(batch.flips)[:, None, None, None], plain.flip(3), plain)
    assert torch.equal(((shown + 1) * 127.5).round().to(torch.uint8), expected)


def test_flipping_can_be_switched_off() -> None:
    batches = PictureBatches(numbered(50), flip=False)
    assert not batches.batch(0, 50).flips.any()


def test_pictures_span_minus_one_to_one() -> None:
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    pictures[1] = 255
    batches = PictureBatches(PictureData("two", "0", pictures, ((), ())))
    shown = batches.pictures(batches.batch(0, 2))
    assert (shown.min().item(), shown.max().item()) == (-1.0, 1.0)


def test_the_data_is_not_changed_by_flipping() -> None:
    batches = stream()
    before = batches.data.pictures.copy()
    batches.pictures(batches.batch(0, 50))
    assert np.array_equal(before, batches.data.pictures)


def test_pictures_without_captions_give_batches_without_captions() -> None:
    batch = PictureBatches(numbered(10, captions=0)).batch(0, 4)
    assert batch.right is None and batch.wrong is None


def test_a_mixture_of_captioned_and_bare_pictures_is_refused() -> None:
    data = PictureData("mixed", "0", np.zeros((2, 4, 4, 3), np.uint8), (("one",), ()))
    with pytest.raises(DataError, match="1 of 2 pictures have no caption"):
        PictureBatches(data)


def test_no_picture_is_refused() -> None:
    data = PictureData("none", "0", np.zeros((0, 4, 4, 3), np.uint8), ())
    with pytest.raises(DataError, match="holds no picture"):
        PictureBatches(data)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("step", (-1, 4, 0, 1)),
        ("rank", (0, 4, 2, 2)),
        ("batch_size", (0, 5, 0, 2)),
        ("batch_size", (0, 0, 0, 1)),
    ],
)
def test_numbers_out_of_range_are_named(field: str, arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        stream().batch(*arguments)


class Neighbours:
    """A picture's own captions are true of it; the nearer a caption's picture, the more so."""

    def holds(self, pictures: np.ndarray, captions: np.ndarray) -> np.ndarray:
        return np.asarray(captions // 3 == pictures)

    def agreement(self, pictures: np.ndarray, captions: np.ndarray) -> np.ndarray:
        return (1.0 / (1.0 + np.abs(pictures[:, None] - captions // 3))).astype(np.float32)


@pytest.mark.parametrize(("share", "near"), [(0.0, 0.2), (0.5, 0.65), (1.0, 1.0)])
def test_the_asked_share_of_wrong_captions_is_almost_true(share: float, near: float) -> None:
    data = dataclasses.replace(numbered(40), truth=Neighbours())
    wrong = WrongCaptions(data, np.zeros((len(data.flat_captions), 1), np.float32))
    batch = PictureBatches(data, wrong, hard_wrong=share).batch(0, 400)
    assert batch.wrong is not None
    apart = np.abs(batch.wrong // 3 - batch.pictures)
    assert (apart > 0).all()
    assert (apart <= 3).mean() == pytest.approx(near, abs=0.15)


def test_a_share_of_hard_captions_beyond_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="hard_wrong"):
        PictureBatches(numbered(4), hard_wrong=1.5)
