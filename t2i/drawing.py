"""Runs a generator so that a picture's bytes depend on nothing but the picture's own inputs.

What a picture gives alone, on one thread, is what it gives. On the CPU pictures run in tiles of up
to eight, one thread a tile, and the cores draw different tiles meanwhile. The last bits of matrix
products and of some convolutions depend on how many rows there are, so a generator is first made to
multiply four at a time (t2i/invariant.py), with which a picture has the same bits alone and in
any place of any tile; and that is tried out where it runs, with each size of tile, before the size
is used. Where it does not hold, every picture runs alone: slower, with the same bytes.
A tile of fixed size filled up with zeros would make one picture as dear as eight. Half precision
(bfloat16) happened to agree between batch sizes even so, because rounding hides the difference,
which is no promise; it also costs gradations in soft shading.

On CUDA one picture alone would leave the device idle. There pictures run in tiles of one size,
filled up with zeros, with deterministic float32 kernels: the same kernel for every tile, in which a
row is computed like every other row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from t2i.compute import core_count, run_apart
from t2i.errors import BundleError

if TYPE_CHECKING:
    from t2i.invariant import Proof

__all__ = ["TILE", "Generator", "Inputs", "draw_pictures", "run_generator", "tile_sizes"]

TILE = 8


class Output(Protocol):
    """What a generator returns."""

    @property
    def pictures(self) -> tuple[Tensor, ...]:
        """One `(n, c, r, r)` tensor a stage, coarse to fine; c is 3, or 1 for grey."""


class Generator(Protocol):
    """A network that draws pictures from an embedding and noise.

    Attributes:
        condition_dim: length of an embedding; 0 for one that draws by noise alone.
        noise_dim: length of the noise.
        conditioning_dim: length of the conditioning augmentation's noise.
        resolutions: side of each stage's picture in pixels, ascending.
    """

    condition_dim: int
    noise_dim: int
    conditioning_dim: int
    resolutions: tuple[int, ...]

    def __call__(
        self, embedding: Tensor, noise: Tensor, conditioning_noise: Tensor | None, /, **fine: Any
    ) -> Output:
        """Draw; a generator that has `takes_fine` also takes `fine` and `fine_from`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The network's parameters."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What one picture is drawn from: vectors on the CPU.

    Attributes:
        embedding: of what it is asked with.
        noise: of the picture.
        conditioning_noise: of the conditioning augmentation.
        fine: embedding that the stages from number `fine_from` on follow; None for the same.
        fine_from: 1 or more.
    """

    embedding: Tensor
    noise: Tensor
    conditioning_noise: Tensor
    fine: Tensor | None = None
    fine_from: int = 1

    @property
    def kind(self) -> int:
        """Pictures of one kind can run together: the first stage of `fine`, 0 without."""
        return 0 if self.fine is None else self.fine_from


def draw_pictures(
    generator: Generator,
    inputs: Sequence[Inputs],
    device: torch.device,
    value_range: tuple[float, float] = (-1.0, 1.0),
    *,
    tile: int = TILE,
    proof: Proof | None = None,
    cores: int | None = None,
) -> list[tuple[NDArray[np.uint8], ...]]:
    """Draw pictures.

    Args:
        generator: in evaluation mode, on the device.
        inputs: one entry a picture.
        device: where the generator is.
        value_range: the values of black and white in the generator's output.
        tile: pictures that run together on other devices than the CPU.
        proof: tells for which kinds of pictures several may run together on the CPU, and how many;
            None has each run alone.
        cores: how many of the CPU's cores the tiles are laid out for; None for all there are.

    Returns:
        For each picture one `(r, r, 3)` uint8 array a stage, coarse to fine. A grey picture has
        its one channel three times, so that whoever takes pictures meets one shape only.

    Raises:
        BundleError: if the generator's pictures have neither one channel nor three.
    """
    if device.type == "cpu":
        tiles = _cpu_tiles(inputs, proof, cores or core_count())

        def together(places: Sequence[int]) -> list[tuple[NDArray[np.uint8], ...]]:
            rows = [inputs[place] for place in places]
            return _run(generator, rows, len(rows), device, value_range)

        return _in_order(tiles, run_apart(together, tiles))
    tiles = [
        alike[start : start + tile]
        for alike in _alike(inputs).values()
        for start in range(0, len(alike), tile)
    ]
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), _deterministic():
        results = [
            _run(generator, [inputs[place] for place in places], tile, device, value_range)
            for places in tiles
        ]
    return _in_order(tiles, results)


def tile_sizes(count: int, cores: int, most: int) -> list[int]:
    """Return how many of `count` pictures run together, so that all cores have alike to do.

    Args:
        count: pictures.
        cores: tiles that run side by side.
        most: pictures in a tile, at most.

    Returns:
        One number a tile, the largest first. With no more pictures than cores, each is alone; else
        the tiles differ by one picture at most.
    """
    if count <= cores or most <= 1:
        return [1] * count
    rounds = math.ceil(math.ceil(count / most) / cores)
    tiles = min(count, rounds * cores)
    size, larger = divmod(count, tiles)
    return [size + 1] * larger + [size] * (tiles - larger)


def _cpu_tiles(inputs: Sequence[Inputs], proof: Proof | None, cores: int) -> list[list[int]]:
    """Return the places of the pictures that run together, each tile of one kind."""
    tiles = []
    for kind, alike in _alike(inputs).items():
        sizes = tile_sizes(len(alike), cores, proof.most if proof else 1)
        if proof is not None and max(sizes) > 1 and not proof.holds(kind, set(sizes)):
            sizes = [1] * len(alike)
        rest = iter(alike)
        tiles += [list(islice(rest, size)) for size in sizes]
    return tiles


def _alike(inputs: Sequence[Inputs]) -> dict[int, list[int]]:
    """Return the places of the pictures of each kind."""
    kinds: dict[int, list[int]] = {}
    for place, picture in enumerate(inputs):
        kinds.setdefault(picture.kind, []).append(place)
    return kinds


def _in_order(
    tiles: Sequence[Sequence[int]], results: Sequence[Sequence[tuple[NDArray[np.uint8], ...]]]
) -> list[tuple[NDArray[np.uint8], ...]]:
    drawn = {
        place: picture
        for places, pictures in zip(tiles, results, strict=True)
        for place, picture in zip(places, pictures, strict=True)
    }
    return [drawn[place] for place in range(len(drawn))]


def run_generator(
    generator: Generator, inputs: Sequence[Inputs], tile: int, device: torch.device
) -> tuple[Tensor, ...]:
    """Run one tile of one kind; places without a picture are zero.

    Args:
        generator: in evaluation mode, on the device.
        inputs: one entry a picture, at most `tile`.
        tile: rows.
        device: where the generator is.

    Returns:
        The generator's pictures, `(tile, c, r, r)` for each stage, coarse to fine.
    """

    def stacked(rows: list[Tensor]) -> Tensor:
        # New memory for each tile: kernels may differ with the alignment of what they read.
        block = torch.zeros(tile, *rows[0].shape)
        for place, row in enumerate(rows):
            block[place] = row
        return block.to(device)

    fine = [picture.fine for picture in inputs if picture.fine is not None]
    return generator(
        stacked([picture.embedding for picture in inputs]),
        stacked([picture.noise for picture in inputs]),
        stacked([picture.conditioning_noise for picture in inputs]),
        **({"fine": stacked(fine), "fine_from": inputs[0].fine_from} if fine else {}),
    ).pictures


def _run(
    generator: Generator,
    inputs: Sequence[Inputs],
    tile: int,
    device: torch.device,
    value_range: tuple[float, float],
) -> list[tuple[NDArray[np.uint8], ...]]:
    """Run one tile of one kind and return the bytes of its pictures."""
    low, high = value_range
    stages = [
        ((_coloured(pictures).float() - low) * (255.0 / (high - low)))
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        .permute(0, 2, 3, 1)
        .cpu()
        .contiguous()
        .numpy()
        for pictures in run_generator(generator, inputs, tile, device)
    ]
    return [tuple(stage[place].copy() for stage in stages) for place in range(len(inputs))]


def _coloured(pictures: Tensor) -> Tensor:
    """Return `(n, 3, h, w)`."""
    if pictures.dim() != 4 or pictures.shape[1] not in (1, 3):
        raise BundleError(
            f"the generator's output has the shape {tuple(pictures.shape)}, which is no picture; "
            "name a generator of (n, 1, h, w) or (n, 3, h, w) in config.json"
        )
    return pictures.expand(-1, 3, -1, -1)


@contextmanager
def _deterministic() -> Iterator[None]:
    products = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products
