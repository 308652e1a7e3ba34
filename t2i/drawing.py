"""Runs a generator so that a picture's bytes depend on nothing but the picture's own inputs.

On the CPU each picture runs alone, on one thread. Measured with StageGenerator (4.1 M parameters,
16/32/64 pixels, float32, two cores with AVX-512): linear layers (MKL) and the 8-pixel convolutions
give other last bits in a batch of 2, 3, 4, 8 or 16 than alone, and matrix products give other bits
on two threads than on one. A fixed tile filled up with other pictures would hold the batch size
still, but not a picture's place in it, and makes one picture as dear as a tile. Alone on one thread
there is nothing left to vary. It takes 9.0 ms of one core a picture, against 5.1 ms in a batch of
eight (benchmarks/drawing.py), and the cores draw different pictures meanwhile.
Half precision (bfloat16) happened to agree between batch sizes, because rounding hides the
difference, which is no promise; it also costs gradations in soft shading.

On CUDA one picture alone would leave the device idle. There pictures run in tiles of one size,
filled up with zeros, with deterministic float32 kernels: the same kernel for every tile, in which a
row is computed like every other row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from t2i.compute import run_apart
from t2i.errors import BundleError

__all__ = ["TILE", "Generator", "Inputs", "draw_pictures"]

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
) -> list[tuple[NDArray[np.uint8], ...]]:
    """Draw pictures.

    Args:
        generator: in evaluation mode, on the device.
        inputs: one entry a picture.
        device: where the generator is.
        value_range: the values of black and white in the generator's output.
        tile: pictures that run together on other devices than the CPU.

    Returns:
        For each picture one `(r, r, 3)` uint8 array a stage, coarse to fine. A grey picture has
        its one channel three times, so that whoever takes pictures meets one shape only.

    Raises:
        BundleError: if the generator's pictures have neither one channel nor three.
    """

    def alone(picture: Inputs) -> tuple[NDArray[np.uint8], ...]:
        return _run(generator, [picture], 1, device, value_range)[0]

    if device.type == "cpu":
        return run_apart(alone, inputs)
    drawn: dict[int, tuple[NDArray[np.uint8], ...]] = {}
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), _deterministic():
        for kind in dict.fromkeys(picture.kind for picture in inputs):
            alike = [place for place, picture in enumerate(inputs) if picture.kind == kind]
            for start in range(0, len(alike), tile):
                some = alike[start : start + tile]
                rows = [inputs[place] for place in some]
                results = _run(generator, rows, tile, device, value_range)
                drawn.update(zip(some, results, strict=True))
    return [drawn[place] for place in range(len(inputs))]


def _run(
    generator: Generator,
    inputs: Sequence[Inputs],
    tile: int,
    device: torch.device,
    value_range: tuple[float, float],
) -> list[tuple[NDArray[np.uint8], ...]]:
    """Run one tile of one kind; places without a picture are zero and are not returned."""

    def stacked(rows: list[Tensor]) -> Tensor:
        # New memory for each tile: kernels may differ with the alignment of what they read.
        block = torch.zeros(tile, *rows[0].shape)
        for place, row in enumerate(rows):
            block[place] = row
        return block.to(device)

    fine = [picture.fine for picture in inputs if picture.fine is not None]
    output = generator(
        stacked([picture.embedding for picture in inputs]),
        stacked([picture.noise for picture in inputs]),
        stacked([picture.conditioning_noise for picture in inputs]),
        **({"fine": stacked(fine), "fine_from": inputs[0].fine_from} if fine else {}),
    )
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
        for pictures in output.pictures
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
