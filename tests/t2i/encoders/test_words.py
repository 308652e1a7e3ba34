from __future__ import annotations

import torch

from t2i.encoders import CaptionEncoder, WordsEncoder, load_text_encoder
from t2i.networks import CaptionNetwork
from t2i.networks.words import unpack

TEXTS = ["a small red bird", "blue"]


def test_sentence_and_words_are_those_of_the_other_encoder() -> None:
    torch.manual_seed(0)
    words = load_text_encoder()
    code = CaptionEncoder(words, CaptionNetwork(width=8, heads=2, queries=2, code_dim=6))
    for inner in (words, code):
        encoder = WordsEncoder(inner, 5)
        assert encoder.dim == inner.dim + 5 * 385 and encoder.token_dim == 384
        said = unpack(encoder.encode(TEXTS), 5, 384)
        assert torch.equal(said.sentence, inner.encode(TEXTS))
        states, _ = inner.token_states([TEXTS[1]])
        # A token at each end beside the word.
        assert said.present.sum(dim=1).tolist() == [5, 3]
        assert torch.equal(said.states[1, :3], states[0])
        assert torch.equal(encoder.sentences(TEXTS), words.encode(TEXTS))
        assert encoder.id == f"{inner.id}#5"
