"""What every text encoder can do: captions to embeddings, each as if alone, and remembered."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from t2i.compute import core_count, run_apart
from t2i.conditions import Text
from t2i.encoders.company import Company, Said

__all__ = ["TextEncoder"]

CACHED_CAPTIONS = 4096


class TextEncoder(ABC):
    """A text model with its pooling.

    `encode` runs captions without padding, each pass on one thread (see t2i/compute.py). Captions
    of as many tokens share a pass where that has proved to leave no trace (see company.py), so that
    no bit of an embedding depends on what else was asked for. Embeddings are cached.

    Args:
        id: `NAME#POOLING#CHECKSUM`, the same for the same model everywhere; the checksum is the
            start of the SHA-256 over its weights.
        dim: length of an embedding.
        device: where the model computes.
        cache_size: number of captions whose embeddings are kept.
    """

    def __init__(
        self, id: str, dim: int, device: torch.device, cache_size: int = CACHED_CAPTIONS
    ) -> None:
        self.id = id
        self.dim = dim
        self.device = device
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()
        self._company = Company()

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings of captions, `(n, dim)` float32 on the CPU.

        They are scaled as the model's authors do (all-MiniLM-L6-v2: to length 1). A caption has
        the same embedding, bit for bit, whatever it is asked together with.

        Raises:
            InvalidInput: if a caption is empty, blank or too long.
        """
        captions = [Text(text).text for text in texts]
        found: dict[str, Tensor] = {}
        missing: list[str] = []
        for caption in dict.fromkeys(captions):
            known = self._recall(caption)
            if known is None:
                missing.append(caption)
            else:
                found[caption] = known
        for caption, embedding in zip(missing, self._encode_alone(missing), strict=True):
            found[caption] = embedding
            self._remember(caption, embedding)
        embeddings = torch.empty(len(captions), self.dim)
        for index, caption in enumerate(captions):
            embeddings[index] = found[caption]
        return embeddings

    def encode_batch(self, texts: Sequence[str], *, half: bool = False) -> Tensor:
        """Return embeddings `(n, dim)` float32 on the CPU, computed together: fast, for data sets.

        They agree with those of `encode` up to rounding. They are not cached.

        Args:
            texts: valid captions.
            half: compute in bfloat16.
        """
        if not texts:
            return torch.empty(0, self.dim)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            return self._embed(list(texts)).float().cpu()

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings whose cosine distance tells how far captions are in meaning.

        They are those of `encode`, unless the encoder learned its embeddings for another purpose.
        """
        return self.encode(texts)

    def pooled(self, states: Tensor, present: Tensor) -> Tensor | None:
        """Return the embeddings of captions from what `token_states` returned for them.

        None if the model has to run for them.
        """
        return None

    @abstractmethod
    def token_states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return the last hidden states of the tokens of captions that run as one batch.

        Returns:
            `(n, t, token_dim)` float32 states, and `(n, t)` booleans that are False at padding.
        """

    @abstractmethod
    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a caption, as many as `token_states` has states of it.

        Marks such as the beginning and the end are among them, in the tokenizer's own writing.
        """

    @abstractmethod
    def _embed(self, texts: list[str]) -> Tensor:
        """Return the embeddings `(n, dim)` of captions that run as one batch."""

    def _encode_alone(self, captions: list[str]) -> list[Tensor]:
        return [embedding for (embedding,) in self._apart(self._say, captions)]

    def _say(self, captions: list[str]) -> list[Said]:
        return [(embedding.clone(),) for embedding in self._embed(captions).float()]

    def _apart(self, say: Callable[[list[str]], list[Said]], captions: list[str]) -> list[Said]:
        """Return what `say` tells of each caption, to the bit what it tells of the caption alone.

        Args:
            say: runs captions of one length as one batch, and returns an entry a caption.
            captions: all different.
        """
        if not captions:
            return []
        if self.device.type != "cpu":
            with torch.inference_mode():
                return [said for caption in captions for said in say([caption])]
        lengths = [len(self.tokens(caption)) for caption in captions]
        batches = self._company.batches(lengths, core_count())

        def run(places: list[int]) -> list[Said]:
            return self._company.run(say, [captions[n] for n in places], lengths[places[0]])

        found = [entry for batch in run_apart(run, batches) for entry in batch]
        order = [place for places in batches for place in places]
        return [said for _, said in sorted(zip(order, found, strict=True), key=lambda x: x[0])]

    def _recall(self, caption: str) -> Tensor | None:
        with self._lock:
            known = self._cache.get(caption)
            if known is not None:
                self._cache.move_to_end(caption)
            return known

    def _remember(self, caption: str, embedding: Tensor) -> None:
        with self._lock:
            self._cache[caption] = embedding
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
