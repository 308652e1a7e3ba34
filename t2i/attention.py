"""Where a picture looked at each word of its caption, for generators that attend to words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WordMap", "maps_of_words"]


@dataclass(frozen=True, slots=True, eq=False)
class WordMap:
    """Where a picture looked at one word.

    Attributes:
        word: the word.
        weights: `(side, side)` float32, 0 to 1, over the whole picture; at each place the weights
            of all words and of the tokenizer's marks sum to 1.
    """

    word: str
    weights: NDArray[np.float32]


def maps_of_words(tokens: Sequence[str], maps: NDArray[np.float32]) -> tuple[WordMap, ...]:
    """Return the maps of whole words.

    Args:
        tokens: of the caption in the tokenizer's writing; what stands in brackets is a mark, and a
            token that begins with ## goes on with the word before.
        maps: `(n, side, side)` of the first n tokens or of as many as there are.
    """
    found: list[tuple[str, NDArray[np.float32]]] = []
    for token, weights in zip(tokens, maps, strict=False):
        if token.startswith("##") and found:
            word, sum_ = found[-1]
            found[-1] = (word + token[2:], sum_ + weights)
        elif token[:1] + token[-1:] not in ("[]", "<>"):
            # Marks of byte-level tokenizers and of SentencePiece stand for the blank before a word.
            found.append((token.lstrip("\u0120\u2581") or token, weights))
    return tuple(WordMap(word, weights) for word, weights in found)
