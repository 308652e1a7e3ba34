"""Lets several pictures share a forward pass on the CPU without a trace in each other's bits.

The last bits of a matrix product depend on how many rows are multiplied together: libraries have
kernels of their own for one, two and three rows, and MKL on Intel processors for six or sixteen and
more. So linear layers multiply blocks of exactly four rows here, the last one filled up with zeros,
and a row's bits depended neither on the others in its block nor on its place there. Convolutions
took other ways for fewer than four small maps alone; these get maps of zeros up to four. Those of
large maps gave the same bits even alone, and run as they are. A lone picture pays for it with a
tenth of its time; padding large maps too would double it.

Measured with MKL and oneDNN, float32, one thread: in blocks on an Intel processor, the bundled
model in batches of 2 to 16 and six kinds of generators in batches of 2 to 5; without blocks on an
AMD processor, where from four rows on their number made no difference up to 32. A lone picture's
rows were four before there were blocks, so its bits, which are everyone's, are what they were.

That is a finding about libraries and processors, not a promise of theirs, and very narrow linear
layers (262 to 8 numbers) break it. `Proof` therefore tries each generator where it runs, before any
two of its pictures are drawn together.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

import torch
from torch import Tensor, nn
from torch.nn import functional

from t2i.compute import core_count, run_apart
from t2i.drawing import TILE, Generator, Inputs, run_generator

__all__ = ["LEAST_ROWS", "SMALL_MAP", "SMALL_ROW", "Proof", "pad_rows"]

LEAST_ROWS = 4
SMALL_MAP = 8 * 8
SMALL_ROW = 64 * 16 * 16
# As many different pictures as a proof draws alone.
_PICTURES = 4
# Rows that each size is tried with, at least: with few numbers, two sums may agree by luck.
_ROWS = 8

# One stage's numbers after the other.
_Digest = tuple[bytes, ...]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def pad_rows(network: nn.Module) -> None:
    """Have a network multiply `LEAST_ROWS` rows at a time, and no fewer small maps, in place.

    This concerns linear layers, convolutions of maps of at most `SMALL_MAP` pixels or `SMALL_ROW`
    numbers, and the methods that a module names in `row_products` and `map_products`, which take
    `(n, ...)` and return `(n, ...)`. Parameters, state dict and results stay what they are, up to
    rounding. For networks that draw, not for such that learn or are copied.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            _cut(module, "forward")
        elif isinstance(module, _CONVOLUTIONS):
            _pad(module, "forward")
        for name in getattr(module, "row_products", ()):
            _cut(module, name)
        for name in getattr(module, "map_products", ()):
            _pad(module, name)


def _few_small_maps(x: Tensor) -> bool:
    if x.shape[0] >= LEAST_ROWS:
        return False
    return x.shape[2:].numel() <= SMALL_MAP or x.shape[1:].numel() <= SMALL_ROW


def _cut(module: nn.Module, name: str) -> None:
    """Put a method in the place of a module's own that multiplies blocks of vectors in turn."""
    function: Callable[[Tensor], Tensor] = getattr(module, name)

    def in_blocks(x: Tensor) -> Tensor:
        # Several vectors for each picture, such as words, are enough rows as they are.
        if x.dim() != 2 and x.shape[:-1].numel() >= LEAST_ROWS:
            return function(x)
        vectors = x.flatten(0, -2)
        rows = functional.pad(vectors, (0, 0, 0, -len(vectors) % LEAST_ROWS))
        done = torch.cat([function(block) for block in torch.split(rows, LEAST_ROWS)])
        return done[: len(vectors)].reshape(*x.shape[:-1], done.shape[1])

    setattr(module, name, in_blocks)


def _pad(module: nn.Module, name: str) -> None:
    """Put a method in the place of a module's own that fills up what has too few small maps."""
    function: Callable[[Tensor], Tensor] = getattr(module, name)

    def padded(x: Tensor) -> Tensor:
        if not _few_small_maps(x):
            return function(x)
        count = x.shape[0]
        # The same order of dimensions in memory as a larger batch has: it chooses the kernel.
        last = x.dim() == 4 and not x.is_contiguous()
        rows = torch.empty(
            (LEAST_ROWS, *x.shape[1:]),
            dtype=x.dtype,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )
        rows[:count] = x
        rows[count:] = 0.0
        return function(rows)[:count]

    setattr(module, name, padded)


class Proof:
    """Whether a generator draws each picture in company bit for bit as it does alone.

    Safe to call from several threads.

    Args:
        generator: in evaluation mode, on the CPU.
        most: the most pictures that shall run together.
    """

    def __init__(self, generator: Generator, most: int = TILE) -> None:
        self.most = most
        self._generator = generator
        self._lock = threading.Lock()
        self._alone: dict[int, list[_Digest]] = {}
        self._tried: dict[int, set[int]] = {}
        self._refuted: set[int] = set()

    def holds(self, kind: int = 0, sizes: Iterable[int] | None = None) -> bool:
        """Tell whether it does with pictures of a kind (`Inputs.kind`); each size is tried once.

        A few pictures of random inputs are drawn alone and then in batches, in several places, and
        the generator's own numbers are compared, before they are rounded to colours. A generator
        that cannot draw such a batch does not. Once a size of a kind has failed, none is used: a
        size that passed before it passed by luck.

        Args:
            kind: of the pictures.
            sizes: numbers of pictures that are to run together; None for all up to `most`.
        """
        wanted = set(range(2, self.most + 1) if sizes is None else sizes) - {1}
        with self._lock:
            new = wanted - self._tried.setdefault(kind, set())
            if new and kind not in self._refuted:
                if not self._try(kind, new):
                    self._refuted.add(kind)
                self._tried[kind] |= new
            return kind not in self._refuted

    def _try(self, kind: int, sizes: set[int]) -> bool:
        pictures = _random_pictures(self._generator, kind)

        def digests(batch: Sequence[int]) -> list[_Digest] | None:
            return _digests(self._generator, [pictures[number] for number in batch])

        # Three steps on are all pictures in turn, and each batch begins with another one.
        batches = [
            [(3 * place + size + turn) % _PICTURES for place in range(size)]
            for size in sorted(sizes, reverse=True)
            for turn in range(math.ceil(_ROWS / size))
        ]
        singles = [] if kind in self._alone else [[number] for number in range(_PICTURES)]
        pieces, drawn = [*batches, *singles], list[list[_Digest] | None]()
        # A piece for each core at a time: whoever draws with another generator meanwhile, as a
        # server does that loads one more model, waits for one of them and not for all.
        for start in range(0, len(pieces), core_count()):
            drawn += run_apart(digests, pieces[start : start + core_count()])
        found, lone = drawn[: len(batches)], drawn[len(batches) :]
        if None in drawn:
            return False
        if singles:
            self._alone[kind] = [digest for digests in lone if digests for digest in digests]
        alone = self._alone[kind]
        return found == [[alone[number] for number in batch] for batch in batches]


def _random_pictures(generator: Generator, kind: int) -> list[Inputs]:
    numbers = torch.Generator().manual_seed(0)
    asked, noise, around = (
        torch.randn(2 * _PICTURES, length, generator=numbers)
        for length in (generator.condition_dim, generator.noise_dim, generator.conditioning_dim)
    )
    return [
        Inputs(asked[k], noise[k], around[k], asked[_PICTURES + k], kind)
        if kind
        else Inputs(asked[k], noise[k], around[k])
        for k in range(_PICTURES)
    ]


def _digests(generator: Generator, inputs: Sequence[Inputs]) -> list[_Digest] | None:
    """Return what tells the generator's numbers apart, for each picture; None if it has others."""
    try:
        stages = run_generator(generator, inputs, len(inputs), torch.device("cpu"))
    except (RuntimeError, ValueError, IndexError):
        return None
    if any(len(stage) != len(inputs) for stage in stages):
        return None
    return [
        tuple(sha256(stage[row].contiguous().numpy().tobytes()).digest() for stage in stages)
        for row in range(len(inputs))
    ]
