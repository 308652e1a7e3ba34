"""A translator with attention, and a critic of pairs of sentences."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import PictureGenerator

# Numbers of the tokens that are no words.
PAD, START, END = 0, 1, 2


class Memory(NamedTuple):
    """A read source sentence.

    Attributes:
        states: ``(n, s, width)`` what was read at each place.
        absent: ``(n, s)`` booleans: the place is padding.
        hidden: ``(n, width)`` the decoder's first state.
    """

    states: Tensor
    absent: Tensor
    hidden: Tensor

    def repeat(self, times: int) -> Memory:
        """Return each row so many times, one after the other."""
        return Memory(*(part.repeat_interleave(times, dim=0) for part in self))


class Translator(PictureGenerator):
    """Reads a sentence both ways, and writes the other one word by word, attending to the first.

    Recurrent encoder and decoder of Bahdanau et al., 2015, 1409.0473, with the inner product of
    Luong et al., 2015, 1508.04025, as attention. Its embedding is the source sentence, the numbers
    of its tokens; its noise decides which words are drawn.

    Args:
        vocabulary: Number of target tokens.
        length: Longest target sentence, its end included.
        source_vocabulary: Number of source tokens.
        source_length: Length of a source row.
        width: Width of embeddings and states; even.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        length: int,
        source_vocabulary: int,
        source_length: int,
        width: int = 128,
    ) -> None:
        super().__init__(
            condition_dim=source_length,
            noise_dim=length,
            resolutions=(),
            config={
                "vocabulary": vocabulary,
                "length": length,
                "source_vocabulary": source_vocabulary,
                "source_length": source_length,
                "width": width,
            },
        )
        self.length = length
        self.read_words = nn.Embedding(source_vocabulary, width)
        self.reader = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.first = nn.Linear(width, width)
        self.words = nn.Embedding(vocabulary, width)
        self.writer = nn.GRUCell(2 * width, width)
        self.attend = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(2 * width, vocabulary)

    def read(self, sources: Tensor) -> Memory:
        """Read ``(n, s)`` int64 source tokens."""
        absent = sources == PAD
        states, _ = self.reader(self.read_words(sources))
        present = (~absent).to(states.dtype)[..., None]
        mean = (states * present).sum(dim=1) / present.sum(dim=1).clamp(min=1.0)
        return Memory(states, absent, self.first(mean).tanh())

    def step(
        self, tokens: Tensor, hidden: Tensor, context: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of the next word ``(n, V)`` float32, the state and what it attends to."""
        hidden = self.writer(torch.cat([self.words(tokens), context], dim=1), hidden)
        fit = (memory.states @ self.attend(hidden)[..., None]).squeeze(2).float()
        weights = fit.masked_fill(memory.absent, -1e4).softmax(dim=1).to(memory.states.dtype)
        context = (weights[:, None] @ memory.states).squeeze(1)
        logits = self.score(torch.cat([hidden, context], dim=1)).float()
        return logits, hidden, context

    def logits(self, sources: Tensor, targets: Tensor) -> Tensor:
        """Return ``(n, t, V)`` float32: each word's logits, after the true words before it."""
        memory = self.read(sources)
        hidden, context = memory.hidden, torch.zeros_like(memory.hidden)
        before = torch.cat([torch.full_like(targets[:, :1], START), targets[:, :-1]], dim=1)
        said = []
        for tokens in before.unbind(dim=1):
            logits, hidden, context = self.step(tokens, hidden, context, memory)
            said.append(logits)
        return torch.stack(said, dim=1)

    @torch.no_grad()
    def write(
        self, memory: Memory, chances: Tensor | None = None, prefix: Tensor | None = None
    ) -> Tensor:
        """Write sentences to their end.

        Args:
            memory: The sources.
            chances: ``(n, length)`` in [0, 1): each word is drawn by inverting the distribution's
                sum at its chance; None takes the likeliest words.
            prefix: ``(n, k)`` words that stand at the beginning.

        Returns:
            ``(n, length)`` int64; what follows `END` is `PAD`.
        """
        n = len(memory.hidden)
        tokens = torch.full((n,), START, device=memory.hidden.device)
        hidden, context = memory.hidden, torch.zeros_like(memory.hidden)
        ended = torch.zeros_like(tokens, dtype=torch.bool)
        rows = []
        for place in range(self.length):
            logits, hidden, context = self.step(tokens, hidden, context, memory)
            # Only words and the end are written.
            logits[:, : START + 1] = -torch.inf
            if prefix is not None and place < prefix.shape[1]:
                tokens = prefix[:, place]
            elif chances is None:
                tokens = logits.argmax(dim=1)
            else:
                sums = logits.softmax(dim=1).cumsum(dim=1)
                at = chances[:, place : place + 1] * sums[:, -1:]
                tokens = (sums <= at).sum(dim=1).clamp(max=logits.shape[1] - 1)
            tokens = tokens.masked_fill(ended, PAD)
            ended = ended | (tokens == END)
            rows.append(tokens)
        return torch.stack(rows, dim=1)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map ``(n, s)`` source tokens and ``(n, length)`` normal noise to ``(n, length)``."""
        memory = self.read(embedding.round().long())
        return self.write(memory, 0.5 * (1.0 + torch.erf(noise.float() / math.sqrt(2.0))))


class PairCritic(nn.Module):
    """Convolutions over both sentences, the largest answer of each, one logit of the two.

    Args:
        vocabulary: Number of target tokens.
        source_vocabulary: Number of source tokens.
        width: Width of the embeddings, and filters of each length.
        lengths: Words that filters span.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        source_vocabulary: int,
        width: int = 128,
        lengths: tuple[int, ...] = (1, 2, 3, 4),
    ) -> None:
        super().__init__()
        self.words = nn.ModuleList(
            nn.Embedding(size, width) for size in (source_vocabulary, vocabulary)
        )
        self.filters = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(width, width, size, padding=size // 2) for size in lengths)
            for _ in range(2)
        )
        features = 2 * len(lengths) * width
        self.join = nn.Linear(features, width)
        self.score = nn.Linear(width, 1)

    def forward(self, sources: Tensor, targets: Tensor) -> Tensor:
        """Return ``(n,)`` float32 logits, high for a human translation, of two token rows."""
        found = []
        for tokens, words, filters in zip(
            (sources, targets), self.words, self.filters, strict=True
        ):
            seen = words(tokens).transpose(1, 2)
            assert isinstance(filters, nn.ModuleList)
            found += [F.relu(each(seen)).amax(dim=2) for each in filters]
        # What is joined can ask whether both sentences say the same.
        joined = F.leaky_relu(self.join(torch.cat(found, dim=1)), 0.2)
        logits: Tensor = self.score(joined).squeeze(1).float()
        return logits
