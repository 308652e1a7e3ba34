from __future__ import annotations

import pytest
import torch

from t2i.networks import AttentionGenerator, DcganCaptionCritic
from t2i.networks.settled import settled
from t2i.networks.word_attention import WordAttention
from t2i.networks.words import Words, pack, packed_dim, unpack


def test_what_is_packed_is_unpacked_with_zeros_where_there_is_no_word() -> None:
    torch.manual_seed(0)
    sentence, states = torch.randn(2, 5), torch.randn(2, 2, 3)
    present = torch.tensor([[True, True], [True, False]])
    packed = pack(sentence, states, present, 4)
    assert packed.shape == (2, packed_dim(5, 4, 3))
    said = unpack(packed, 4, 3)
    assert torch.equal(said.sentence, sentence)
    assert said.present.tolist() == [[True, True, False, False], [True, False, False, False]]
    assert torch.equal(said.states[0, :2], states[0]) and torch.equal(
        said.states[1, 0], states[1, 0]
    )
    assert float(said.states[1, 1:].abs().max()) == 0.0


def test_words_beyond_the_room_are_left_out() -> None:
    states, present = torch.randn(1, 6, 3), torch.ones(1, 6, dtype=torch.bool)
    said = unpack(pack(torch.randn(1, 2), states, present, 4), 4, 3)
    assert torch.equal(said.states, states[:, :4]) and bool(said.present.all())


def test_between_two_captions_a_word_is_there_when_it_is_more_than_half() -> None:
    states = torch.randn(2, 2, 3)
    long, short = pack(torch.zeros(2, 1), states, torch.tensor([[True, True], [True, False]]), 2)
    for share, there in ((0.6, True), (0.4, False)):
        between = share * long + (1 - share) * short
        assert unpack(between[None], 2, 3).present.tolist() == [[True, there]]


def test_attention_is_equation_2_written_out() -> None:
    torch.manual_seed(0)
    layer = WordAttention(3, 4)
    x, states = torch.randn(1, 4, 2, 2), torch.randn(1, 3, 3)
    words = Words(torch.zeros(1, 1), states, torch.tensor([[True, True, False]]))
    said = layer.read(states)[0, :2]
    for place in range(4):
        here = x.flatten(2)[0, :, place]
        beta = (said @ here).softmax(dim=0)
        found = layer(x, words).flatten(2)[0, :, place]
        torch.testing.assert_close(found, beta @ said)
        torch.testing.assert_close(layer.weights(x, words)[0, place, :2], beta)


def test_captions_without_room_for_their_words_are_refused() -> None:
    with pytest.raises(ValueError, match="words: 24 of 384 numbers leave nothing of 256"):
        AttentionGenerator(condition_dim=256)


def test_a_critic_without_the_other_score_or_captions_says_so() -> None:
    critic = DcganCaptionCritic(resolution=16, condition_dim=6, code_dim=3, width=4)
    with pytest.raises(ValueError, match="build it with alone=True"):
        critic.alone(torch.zeros(2, *critic.look(torch.zeros(2, 3, 16, 16)).shape[1:]))
    with pytest.raises(ValueError, match=r"embedding: is missing; give \(n, 6\)"):
        critic(torch.zeros(2, 3, 16, 16))


def test_a_settled_network_gathers_nothing_and_learns_on_afterwards() -> None:
    norm = torch.nn.BatchNorm1d(2)
    with pytest.raises(RuntimeError), settled(norm):
        norm(torch.randn(4, 2) + 5)
        assert not norm.training
        raise RuntimeError
    assert norm.training and norm.running_mean is not None
    assert float(norm.running_mean.abs().max()) == 0.0
