"""Token states of a data set's captions, encoded once into memory-mapped files."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i.encoders.text import TextEncoder
from t2i.networks.words import pack
from training.progress import progress_bar

BATCH = 256


class TokenStates:
    """The token states of captions, one after the other, in float16.

    Args:
        states: ``(total_tokens, token_dim)`` float16.
        starts: ``(n_texts + 1,)`` first token of each different text, then the total.
        texts: ``(n_captions,)`` number of each caption's text; equal captions share one.
    """

    def __init__(
        self, states: NDArray[np.float16], starts: NDArray[np.int64], texts: NDArray[np.int64]
    ) -> None:
        self._states = states
        self._starts = starts
        self._texts = texts

    @property
    def token_dim(self) -> int:
        """Width of a token's state."""
        return int(self._states.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``(n_captions,)`` number of tokens of each caption."""
        counts: NDArray[np.int64] = np.diff(self._starts)[self._texts]
        return counts

    def batch(self, captions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return states ``(n, t, token_dim)`` float32, zero at padding, and presence ``(n, t)``."""
        texts = self._texts[captions]
        begin, end = self._starts[texts], self._starts[texts + 1]
        longest = int((end - begin).max())
        places = begin[:, None] + np.arange(longest)
        present = places < end[:, None]
        states = self._states[np.where(present, places, 0)].astype(np.float32)
        states[~present] = 0.0
        return torch.from_numpy(states), torch.from_numpy(present)

    def __len__(self) -> int:
        """Return the number of captions."""
        return len(self._texts)


class PackedCaptions:
    """Captions' embeddings with the states of their words, put together as they are asked for.

    Args:
        embeddings: ``(n_captions, d)`` of the whole captions.
        tokens: The states of their words.
        words: Words that there is room for.
    """

    def __init__(self, embeddings: NDArray[np.float32], tokens: TokenStates, words: int) -> None:
        self._embeddings, self._tokens, self.words = embeddings, tokens, words

    @property
    def token_dim(self) -> int:
        """Length of a word's state."""
        return self._tokens.token_dim

    def __getitem__(self, captions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``(n, packed_dim)`` of captions by their numbers."""
        whole = torch.from_numpy(np.array(self._embeddings[captions]))
        packed = pack(whole, *self._tokens.batch(captions), self.words)
        return np.asarray(packed.numpy(), np.float32)


def encode_tokens(
    encoder: TextEncoder, captions: Sequence[str], cache_dir: Path, *, progress: bool = True
) -> TokenStates:
    """Encode captions, or open what an earlier call left for the same encoder and captions."""
    numbers: dict[str, int] = {}
    texts = np.array([numbers.setdefault(text, len(numbers)) for text in captions], np.int64)
    unique = list(numbers)
    key = hashlib.sha256("\0".join([encoder.id, *unique]).encode()).hexdigest()[:32]
    path, starts_path = cache_dir / f"tokens-{key}.npy", cache_dir / f"token-starts-{key}.npy"
    if not (path.is_file() and starts_path.is_file()):
        cache_dir.mkdir(parents=True, exist_ok=True)
        _encode(encoder, unique, path, starts_path, progress=progress)
    return TokenStates(np.load(path, mmap_mode="r"), np.load(starts_path), texts)


def _encode(
    encoder: TextEncoder, unique: list[str], path: Path, starts_path: Path, *, progress: bool
) -> None:
    # Captions of like length share a batch: less padding to compute.
    order = sorted(range(len(unique)), key=lambda number: len(unique[number]))
    rows: dict[int, NDArray[np.float16]] = {}
    # Token states only feed a network that learns to read them: half precision is enough.
    half = torch.autocast(encoder.device.type, torch.bfloat16)
    with progress_bar("Reading captions", len(order), shown=progress) as advance:
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            with torch.inference_mode(), half:
                states, present = encoder.token_states([unique[number] for number in batch])
            for number, state, there in zip(batch, states.cpu(), present.cpu(), strict=True):
                rows[number] = state[there].half().numpy()
            advance(len(batch))
    lengths = [len(rows[number]) for number in range(len(unique))]
    for target, array in (
        (path, np.concatenate([rows[number] for number in range(len(unique))])),
        (starts_path, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)),
    ):
        temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.npy")
        np.save(temporary, array)
        temporary.replace(target)
