"""A text encoder that also gives the state of every word, for networks that look at words."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from t2i.encoders.text import TextEncoder
from t2i.networks.words import pack, packed_dim

__all__ = ["WordsEncoder"]

# An embedding with words is some twenty times as long as one without.
CACHED_WITH_WORDS = 512


class WordsEncoder(TextEncoder):
    """Another encoder's embedding with the states of the caption's first tokens behind it.

    Args:
        sentence: gives the embedding of the whole caption, and the states.
        words: how many tokens there is room for; further ones are left out.
        cache_size: number of captions whose embeddings are kept.
    """

    def __init__(
        self, sentence: TextEncoder, words: int, cache_size: int = CACHED_WITH_WORDS
    ) -> None:
        self.sentence = sentence
        self.words = words
        states, _ = sentence.token_states(["a"])
        self.token_dim = int(states.shape[2])
        super().__init__(
            f"{sentence.id}#{words}",
            packed_dim(sentence.dim, words, self.token_dim),
            sentence.device,
            cache_size,
        )

    def token_states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.token_states`: those of the other encoder."""
        return self.sentence.token_states(texts)

    def tokens(self, text: str) -> list[str]:
        """See `TextEncoder.tokens`: those of the other encoder."""
        return self.sentence.tokens(text)

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.sentences`: those of the other encoder."""
        return self.sentence.sentences(texts)

    def _embed(self, texts: list[str]) -> Tensor:
        states, present = self.sentence.token_states(texts)
        whole = self.sentence.pooled(states, present)
        if whole is None:
            whole = self.sentence._embed(texts)
        return pack(whole, states, present, self.words)
