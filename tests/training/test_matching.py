import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.training.conftest import COLOURS, squares
from training.data.wrong_captions import WrongCaptions
from training.errors import TrainingError
from training.matching import (
    AttributeReader,
    Matcher,
    PictureNetwork,
    fit_caption_network,
    fit_matcher,
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


def test_disagreement_is_the_cross_entropy_of_picking_the_own_caption_and_picture() -> None:
    matcher = Matcher(code_dim=3)
    matcher.said = nn.Sequential()
    matcher.log_scale.data.zero_()
    red, green, blue = torch.eye(3)
    seen, right, wrong = (
        torch.stack([red, green]),
        torch.stack([red, green]),
        torch.stack([blue, blue]),
    )
    none = torch.zeros(2, 2, dtype=torch.bool)
    e = math.e
    loss = matcher.disagreement(2.0 * seen, right, wrong, none)
    expected = 0.5 * (math.log((e + 2) / e) + math.log((e + 1) / e))
    assert loss.item() == pytest.approx(expected)
    # A caption that may be true as well does not compete; nor does the diagonal forbid itself.
    masked = matcher.disagreement(seen, right, wrong, ~none)
    assert masked.item() == pytest.approx(0.5 * math.log((e + 1) / e))


def test_disagreement_scales_the_cosines_of_standardised_captions() -> None:
    torch.manual_seed(2)
    matcher = Matcher(code_dim=4)
    codes = 3.0 * torch.randn(6, 4) + 1.0
    matcher.standardize.fit(codes)
    seen, right, wrong = torch.randn(3, 4), codes[:3], codes[3:]
    own, other = (matcher.said(matcher.standardize(x)).detach() for x in (right, wrong))
    torch.testing.assert_close(matcher.directions(right).detach(), F.normalize(own, dim=1))
    cosines = [[float(F.cosine_similarity(s, c, dim=0)) for c in (*own, *other)] for s in seen]
    for log_scale, scale in ((math.log(3.0), 3.0), (20.0, 50.0)):
        matcher.log_scale.data.fill_(log_scale)
        assert matcher.scale.item() == pytest.approx(scale)
        expected = 0.0
        for i, row in enumerate(cosines):
            rivals = [scale * row[j] for j in (*range(3), 3 + i)]
            column = [scale * other_row[i] for other_row in cosines]
            for against in (rivals, column):
                expected += math.log(sum(math.exp(a - scale * row[i]) for a in against)) / 6
        nothing = torch.zeros(3, 3, dtype=torch.bool)
        loss = matcher.disagreement(seen, right, wrong, nothing)
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_disagreement_teaches_the_pictures_and_no_frozen_network() -> None:
    matcher = Matcher(code_dim=8).eval().requires_grad_(False)
    pictures = torch.rand(4, 3, 16, 16, requires_grad=True)
    codes = torch.randn(4, 8)
    _, seen = matcher.look(pictures)
    none = torch.zeros(4, 4, dtype=torch.bool)
    matcher.disagreement(seen, codes, codes.flip(0), none).backward()
    assert pictures.grad is not None and bool((pictures.grad != 0).flatten(1).any(dim=1).all())
    assert all(parameter.grad is None for parameter in matcher.parameters())


def reader_of(*weights: list[list[float]]) -> AttributeReader:
    """A reader whose logits are the code times given weights ``(size, code_dim)``."""
    reader = AttributeReader(2, [len(rows) for rows in weights])
    for head, rows in zip(reader.heads, weights, strict=True):
        assert isinstance(head, nn.Linear)
        head.weight.data.copy_(torch.tensor(rows))
        head.bias.data.zero_()
    return reader


FIRST, BOTH = [[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]


def test_attributes_that_nobody_knows_do_not_count() -> None:
    reader = reader_of(FIRST, BOTH)
    codes = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(2.0)]])
    values = torch.tensor([[0, -1], [-1, 0]])
    expected = (math.log(4.0 / 3.0) + math.log(4.0 / 2.0)) / 2
    assert reader.loss(codes, values).item() == pytest.approx(expected)
    assert reader.loss(codes, torch.full((2, 2), -1)).item() == 0.0
    assert AttributeReader(2, ()).loss(codes, torch.empty(2, 0, dtype=torch.long)).item() == 0.0


def test_a_picture_misses_what_its_caption_surely_states_and_nothing_else() -> None:
    matcher = Matcher(code_dim=2, attribute_sizes=(2, 3))
    matcher.shown_attributes = reader_of(FIRST, BOTH)
    matcher.said_attributes = reader_of(FIRST, BOTH)
    # The first caption states value 0 of the first attribute and 1 of the second; the second
    # caption leaves both open.
    codes = torch.tensor([[20.0, 0.0], [0.1, 0.1]])
    seen = torch.tensor([[0.0, math.log(2.0)], [5.0, 5.0]])
    first, second = math.log(2.0), math.log(4.0)
    assert matcher.misses(seen, codes).item() == pytest.approx((first + second) / 2)
    assert Matcher(code_dim=2).misses(seen, codes).item() == 0.0


def test_each_caption_of_a_picture_is_asked_for_its_attributes() -> None:
    matcher = Matcher(code_dim=2, attribute_sizes=(2,))
    matcher.shown_attributes = reader_of(FIRST)
    matcher.said_attributes = reader_of(FIRST)
    seen, values = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]), torch.tensor([[0], [1]])
    codes = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0], [0.0, 0.0], [math.log(3.0), 0.0]])
    shown = (math.log(4 / 3) + math.log(2)) / 2
    said = (math.log(2) + math.log(4 / 3) + math.log(2) + math.log(4)) / 4
    assert matcher.attribute_loss(seen, codes, values).item() == pytest.approx(shown + said)


def test_maps_have_the_shapes_that_are_told_and_end_in_the_same_code() -> None:
    network = PictureNetwork(code_dim=5, width=4).eval()
    pictures = torch.rand(2, 3, 64, 64)
    maps, code = network.maps(pictures)
    assert tuple((m.shape[1], m.shape[2]) for m in maps) == network.map_shapes(64)
    assert torch.equal(code, network(pictures))


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


def test_a_matcher_learns_which_captions_a_picture_shows(tmp_path: Path) -> None:
    data = squares()
    rng = np.random.default_rng(5)
    assert data.labels is not None
    labels = data.labels[data.caption_owners]
    codes = rng.normal(size=(len(COLOURS), 8))[labels].astype(np.float32)
    truth = WrongCaptions(data, codes, quantile=1.0)
    path = tmp_path / "matcher.safetensors"
    matcher = fit_matcher(data, codes, truth, path, steps=25, batch_size=12, progress=False)
    shown = torch.from_numpy(np.array(data.pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    seen = F.normalize(matcher.pictures(shown), dim=1)
    cosines = seen @ matcher.directions(torch.from_numpy(codes)).t()
    assert np.array_equal(labels[cosines.argmax(dim=1).numpy()], data.labels)
    assert not any(parameter.requires_grad for parameter in matcher.parameters())
    (told,) = matcher.shown_attributes(matcher.pictures(shown))
    assert np.array_equal(told.argmax(dim=1).numpy(), data.labels)
    (told,) = matcher.said_attributes(matcher.standardize(torch.from_numpy(codes)))
    assert np.array_equal(told.argmax(dim=1).numpy(), labels)
    again = fit_matcher(data, codes, truth, path, steps=25, batch_size=12, progress=False)
    assert torch.equal(again.pictures(shown), matcher.pictures(shown))
    other = replace(data, labels=None, label_names=())
    with pytest.raises(TrainingError, match="other attributes"):
        fit_matcher(other, codes, truth, path, progress=False)
