import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from t2i.errors import InvalidInput
from tests.training.conftest import COLOURS, squares
from training.data.wrong_captions import WrongCaptions
from training.errors import TrainingError
from training.matching import (
    MatchingBatches,
    fit_caption_network,
    fit_matcher,
    optimize,
    read_captions,
    several_captions_loss,
)
from training.tokens import TokenStates


def test_one_caption_a_picture_is_cross_entropy_both_ways() -> None:
    torch.manual_seed(0)
    pictures, captions = (F.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    logits = 3.0 * pictures @ captions.t()
    target = torch.arange(5)
    expected = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))
    true = torch.eye(5, dtype=torch.bool)
    loss = several_captions_loss(pictures, captions, target, true, torch.tensor(3.0))
    torch.testing.assert_close(loss, expected)


def test_captions_of_one_picture_do_not_compete() -> None:
    pictures = torch.eye(2)
    captions = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    owner = torch.tensor([0, 0, 1, 1])
    true = owner[None, :] == torch.arange(2)[:, None]
    loss = several_captions_loss(pictures, captions, owner, true, torch.tensor(1.0))
    among_pictures = math.log(1 + math.exp(-1.0))
    among_captions = math.log(1 + 2 * math.exp(-1.0))
    assert loss.item() == pytest.approx((among_pictures + among_captions) / 2)


def test_wrong_captions_without_an_owner_count_only_against_pictures() -> None:
    pictures = torch.eye(2)
    captions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    owner = torch.tensor([0, 1])
    true = torch.tensor([[True, False, False], [False, True, True]])
    loss = several_captions_loss(pictures, captions, owner, true, torch.tensor(1.0))
    among_pictures = math.log(1 + math.exp(-1.0))
    first, second = math.log(1 + 2 * math.exp(-1.0)), math.log(1 + math.exp(-1.0))
    assert loss.item() == pytest.approx((among_pictures + (first + second) / 2) / 2)


def test_known_of_pictures_are_their_attributes_then_their_label() -> None:
    data = squares()
    assert data.labels is not None
    values, sizes = data.known
    assert sizes == (3,) and np.array_equal(values, data.labels[:, None])
    marks = np.arange(len(data), dtype=np.int8)[:, None] % 2 - 1
    values, sizes = replace(data, attributes=marks, attribute_sizes=(2,)).known
    assert sizes == (2, 3) and np.array_equal(values, np.stack([marks[:, 0], data.labels], axis=1))
    values, sizes = replace(data, labels=None, label_names=()).known
    assert sizes == () and values.shape == (len(data), 0)
    with pytest.raises(InvalidInput, match="attributes"):
        replace(data, attributes=marks, attribute_sizes=(2, 2))


def test_what_few_pictures_show_or_few_are_known_to_show_is_not_often_shown() -> None:
    data = squares()
    assert data.often_shown == (True,)
    numbers = np.arange(len(data))
    often, seldom = numbers % 3 - 1, numbers // 6
    unknown = np.where(numbers < 10, numbers % 2, -1)
    marks = np.stack([often, seldom, unknown], axis=1)
    marked = replace(data, attributes=marks.astype(np.int8), attribute_sizes=(2, 4, 2))
    assert marked.often_shown == (True, False, False, True)
    names = tuple(str(number) for number in range(len(data)))
    assert replace(data, labels=np.arange(len(data)), label_names=names).often_shown == (False,)
    assert replace(data, labels=None, label_names=()).often_shown == ()


def tokens_of(captions: tuple[str, ...]) -> TokenStates:
    """A fixed random state for each word."""
    rng = np.random.default_rng(3)
    words = {word: rng.normal(size=12) for text in captions for word in text.split()}
    states = [np.stack([words[word] for word in text.split()]) for text in captions]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in states])])
    return TokenStates(np.concatenate(states).astype(np.float16), starts, np.arange(len(captions)))


def test_token_states_come_back_padded_with_zeros() -> None:
    tokens = tokens_of(("one two three", "one"))
    states, present = tokens.batch(np.array([1, 0]))
    assert states.shape == (2, 3, 12)
    assert present.tolist() == [[True, False, False], [True, True, True]]
    assert not bool(states[0, 1:].any())
    assert torch.equal(states[0, 0], states[1, 0])


@pytest.mark.parametrize("steps", [1, 10])
def test_a_trial_of_a_few_steps_ends(tmp_path: Path, steps: int) -> None:
    data = squares()
    tokens = tokens_of(data.flat_captions)
    truth = WrongCaptions(data, np.zeros((len(data.flat_captions), 1), np.float32), quantile=1.0)
    path = tmp_path / "caption_network.safetensors"
    fit_caption_network(data, tokens, truth, path, steps=steps, batch_size=4, progress=False)
    assert path.is_file()


def test_a_caption_network_learns_which_captions_say_the_same(tmp_path: Path) -> None:
    data = squares()
    tokens = tokens_of(data.flat_captions)
    truth = WrongCaptions(data, np.zeros((len(data.flat_captions), 1), np.float32), quantile=1.0)
    path = tmp_path / "caption_network.safetensors"
    network = fit_caption_network(
        data, tokens, truth, path, steps=90, batch_size=12, code_dim=16, progress=False
    )
    codes = read_captions(network, tokens, tmp_path / "codes.npy", progress=False)
    units = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    assert data.labels is not None
    labels = data.labels[data.caption_owners]
    cosines = units @ units.T
    same = labels[:, None] == labels[None, :]
    assert cosines[same].min() > cosines[~same].max(), f"{COLOURS.keys()} are told apart"
    again = fit_caption_network(
        data, tokens, truth, path, steps=90, batch_size=12, code_dim=16, progress=False
    )
    states, present = tokens.batch(np.arange(4))
    assert torch.equal(network(states, present), again(states, present))


class Stopped(Exception):
    """Where a test stops what it learns."""


@pytest.mark.parametrize("stop", [3, 4, 17])
def test_learning_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    data = squares()
    codes = np.random.default_rng(5).normal(size=(len(data.flat_captions), 8)).astype(np.float32)
    truth = WrongCaptions(data, codes, quantile=1.0)
    monkeypatch.setattr("training.matching.KEPT_EVERY", 4)
    how: dict[str, Any] = {"batch_size": 6, "steps": 20, "progress": False}
    whole = fit_matcher(data, codes, truth, tmp_path / "whole.safetensors", **how)

    drawn: list[int] = []
    draw = MatchingBatches.draw

    def doomed(batches: MatchingBatches, step: int) -> object:
        drawn.append(step)
        if step == stop and len(drawn) == stop + 1:
            raise Stopped
        return draw(batches, step)

    monkeypatch.setattr(MatchingBatches, "draw", doomed)
    path = tmp_path / "stopped.safetensors"
    with pytest.raises(Stopped):
        fit_matcher(data, codes, truth, path, **how)
    assert not path.is_file()
    again = fit_matcher(data, codes, truth, path, **how)
    assert drawn == [*range(stop + 1), *range(stop // 4 * 4, 20)]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert [each.name for each in sorted(tmp_path.iterdir())] == [
        "stopped.safetensors",
        "whole.safetensors",
    ]


def test_what_was_learned_for_another_length_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.matching.KEPT_EVERY", 1)
    steps: list[int] = []

    def learn(length: int) -> None:
        learner = torch.nn.Linear(1, 1)

        def loss(step: int) -> torch.Tensor:
            steps.append(step)
            return learner(torch.ones(1)).square().sum()

        optimize(learner, loss, length, 1e-3, "", False, kept=tmp_path)

    learn(2)
    learn(2)
    assert steps == [0, 1]
    learn(3)
    assert steps == [0, 1, 0, 1, 2]


def test_a_matcher_learns_which_captions_a_picture_shows(tmp_path: Path) -> None:
    data = squares()
    rng = np.random.default_rng(5)
    assert data.labels is not None
    labels = data.labels[data.caption_owners]
    codes = rng.normal(size=(len(COLOURS), 8))[labels].astype(np.float32)
    truth = WrongCaptions(data, codes, quantile=1.0)
    path = tmp_path / "matcher.safetensors"
    how: dict[str, Any] = {"batch_size": 12, "progress": False}
    matcher = fit_matcher(data, codes, truth, path, steps=40, learning_rate=1e-2, **how)
    shown = torch.from_numpy(np.array(data.pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    seen = F.normalize(matcher.pictures(shown), dim=1)
    cosines = seen @ matcher.directions(torch.from_numpy(codes)).t()
    assert np.array_equal(labels[cosines.argmax(dim=1).numpy()], data.labels)
    assert not any(parameter.requires_grad for parameter in matcher.parameters())
    (told,) = matcher.shown_attributes(matcher.pictures(shown))
    assert np.array_equal(told.argmax(dim=1).numpy(), data.labels)
    (told,) = matcher.said_attributes(matcher.standardize(torch.from_numpy(codes)))
    assert np.array_equal(told.argmax(dim=1).numpy(), labels)
    again = fit_matcher(data, codes, truth, path, **how)
    assert torch.equal(again.pictures(shown), matcher.pictures(shown))
    other = replace(data, labels=None, label_names=())
    with pytest.raises(TrainingError, match="other attributes"):
        fit_matcher(other, codes, truth, path, progress=False)
