"""A text encoder whose last layers were learned from the pictures of one model's training."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from t2i.encoders.text import CACHED_CAPTIONS, TextEncoder
from t2i.networks.captions import CaptionNetwork

__all__ = ["CaptionEncoder"]


class CaptionEncoder(TextEncoder):
    """A frozen text encoder's token states, read by a `CaptionNetwork`.

    Args:
        words: the text encoder whose token states are read.
        network: the network that reads them; it is kept in evaluation mode.
        cache_size: number of captions whose embeddings are kept.
    """

    def __init__(
        self, words: TextEncoder, network: CaptionNetwork, cache_size: int = CACHED_CAPTIONS
    ) -> None:
        self.words = words
        self.network = network.to(words.device).eval().requires_grad_(False)
        digest = hashlib.sha256()
        for name, value in sorted(network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        super().__init__(
            f"{words.id}#{digest.hexdigest()[:12]}", network.code_dim, words.device, cache_size
        )

    def token_states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.token_states`: those of the words' encoder."""
        return self.words.token_states(texts)

    def _embed(self, texts: list[str]) -> Tensor:
        states, present = self.words.token_states(texts)
        code: Tensor = self.network(states, present)
        return code
