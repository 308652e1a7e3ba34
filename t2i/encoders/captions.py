"""A text encoder whose last layers were learned from the pictures of one model's training."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

from torch import Tensor

from t2i.encoders.company import Said
from t2i.encoders.text import CACHED_CAPTIONS, TextEncoder
from t2i.invariant import pad_rows
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
        # A lone caption's code is a product of one row, which has kernels of its own.
        self._reader = copy.deepcopy(self.network)
        pad_rows(self._reader)
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

    def tokens(self, text: str) -> list[str]:
        """See `TextEncoder.tokens`: those of the words' encoder."""
        return self.words.tokens(text)

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """See `TextEncoder.sentences`: those of the words' encoder.

        The code tells apart what training saw in pictures; a caption about anything else may have
        the code of a familiar one.
        """
        return self.words.encode(texts)

    def pooled(self, states: Tensor, present: Tensor) -> Tensor:
        """See `TextEncoder.pooled`: the network's code."""
        code: Tensor = self._reader(states, present)
        return code

    def _embed(self, texts: list[str]) -> Tensor:
        return self.pooled(*self.words.token_states(texts))

    def _encode_alone(self, captions: list[str]) -> list[Tensor]:
        # The text model has run: what it says of the sentence costs nothing more.
        codes: list[Tensor] = []
        for caption, (code, *sentence) in zip(
            captions, self._apart(self._read, captions), strict=True
        ):
            codes.append(code)
            for embedding in sentence:
                self.words._remember(caption, embedding)
        return codes

    def _read(self, captions: list[str]) -> list[Said]:
        states, present = self.words.token_states(captions)
        codes = self._reader(states, present)
        sentences = self.words.pooled(states, present)
        said = (codes,) if sentences is None else (codes, sentences)
        return [tuple(each[n].float().cpu().clone() for each in said) for n in range(len(captions))]
