"""A caption's sentence and words in one vector, so that whatever takes an embedding takes words."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Words(NamedTuple):
    """What a caption says as a whole and word by word.

    Attributes:
        sentence: ``(n, sentence_dim)`` embedding of the whole.
        states: ``(n, t, token_dim)`` states of the words, zero where there is none.
        present: ``(n, t)`` booleans, False where there is no word.
    """

    sentence: Tensor
    states: Tensor
    present: Tensor


def packed_dim(sentence_dim: int, words: int, token_dim: int) -> int:
    """Return the length of a packed caption."""
    return sentence_dim + words * (token_dim + 1)


def pack(sentence: Tensor, states: Tensor, present: Tensor, words: int) -> Tensor:
    """Put sentence, states and presence side by side.

    Args:
        sentence: ``(n, sentence_dim)``.
        states: ``(n, t, token_dim)``; padding may hold anything.
        present: ``(n, t)`` booleans.
        words: Number of words that a packed caption has room for; further ones are left out.

    Returns:
        ``(n, packed_dim)`` float32.
    """
    room = max(0, words - states.shape[1])
    states = F.pad(states[:, :words].float(), (0, 0, 0, room))
    present = F.pad(present[:, :words].float(), (0, room))
    states = torch.where(present[:, :, None] > 0, states, 0.0)
    return torch.cat([sentence.float(), states.flatten(1), present], dim=1)


def unpack(embedding: Tensor, words: int, token_dim: int) -> Words:
    """Take apart what `pack` made; between two captions a word is there when it is more than half.

    Args:
        embedding: ``(n, packed_dim)``.
        words: Number of words that there is room for.
        token_dim: Length of a word's state.
    """
    parts = [embedding.shape[1] - words * (token_dim + 1), words * token_dim, words]
    sentence, states, present = torch.split(embedding, parts, dim=1)
    return Words(sentence, states.reshape(-1, words, token_dim), present > 0.5)
