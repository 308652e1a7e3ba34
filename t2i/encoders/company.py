"""Lets captions share a pass of a text model on the CPU without a trace in each other's bits.

A caption alone uses a small part of what a core can multiply: eight in one pass take four tenths
of the time of eight passes (all-MiniLM-L6-v2, 10 to 20 tokens). Captions of as many tokens need no
padding, and from some number of rows on the kernels give each row the same bits in any company
(t2i/invariant.py); with few tokens, a lone caption has fewer rows than that. `Company` tries each
length with each size of batch on the captions that are asked for, before it relies on it; where it
does not hold, captions of that length run alone. Either way they have the bits that they have
alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

__all__ = ["TOGETHER", "Company", "Said"]

# Captions in one pass, at most: a power of two. Sixteen take hardly less time each than eight.
TOGETHER = 8
# Captions that each size is tried with, at least: of few numbers, some may agree by luck.
_TRIED = 8

# What a text model says of one caption.
Said = tuple[Tensor, ...]


class Company:
    """Which captions can run together. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._agreed: dict[tuple[int, int], int] = {}
        self._refuted: set[int] = set()

    def batches(self, lengths: Sequence[int], cores: int) -> list[list[int]]:
        """Return the places of captions that run together, all of one length.

        With no more captions than cores each runs alone: company would only make one wait. The
        batches that take longest come first, so that the cores end at about the same time.

        Args:
            lengths: tokens of each caption.
            cores: batches that run side by side.
        """
        most = 1
        while most < TOGETHER and 2 * most * cores <= len(lengths):
            most *= 2
        places: dict[int, list[int]] = {}
        for place, length in enumerate(lengths):
            places.setdefault(length, []).append(place)
        found = []
        for length, alike in places.items():
            size = 1 if length in self._refuted else most
            while alike:
                while size > len(alike):
                    size //= 2
                found.append(alike[:size])
                alike = alike[size:]
        return sorted(found, key=lambda batch: -len(batch) * lengths[batch[0]])

    def run(
        self, say: Callable[[list[str]], list[Said]], captions: list[str], length: int
    ) -> list[Said]:
        """Return what a model says of captions, to the bit what it says of each alone.

        Args:
            say: runs captions as one batch, and returns an entry a caption.
            captions: of one length.
            length: their tokens.
        """
        key = (length, len(captions))
        if len(captions) == 1 or (
            length not in self._refuted and self._agreed.get(key, 0) >= _TRIED
        ):
            return say(captions)
        alone = [said for caption in captions for said in say([caption])]
        if length not in self._refuted:
            agrees = all(map(_same, alone, say(captions)))
            with self._lock:
                if agrees:
                    self._agreed[key] = self._agreed.get(key, 0) + len(captions)
                else:
                    self._refuted.add(length)
        return alone


def _same(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))
