"""The random numbers of one picture: from its seed alone, the same on every device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["draw_noise", "slerp"]

# Changing how noise is drawn changes every picture of every seed: never, within format 1.


def draw_noise(seed: int, noise_dim: int, conditioning_dim: int) -> tuple[Tensor, Tensor]:
    """Return a picture's noise `(noise_dim,)` and conditioning noise `(conditioning_dim,)`.

    Both are float32, standard normal, on the CPU. The generator is the picture's own, PCG-64 of
    numpy: torch's CPU generator looks at the lower 32 bits of a seed only, so that 2**31 seeds
    would share each picture.
    """
    numbers = np.random.Generator(np.random.PCG64(seed))
    both = numbers.standard_normal(noise_dim + conditioning_dim, dtype=np.float32)
    # Into torch's own memory: its alignment is always the same, and with it the kernel that reads.
    values = torch.tensor(both)
    return values[:noise_dim].clone(), values[noise_dim:].clone()


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the noise at `t` (0 to 1) on the great arc from `a` to `b`, both `(dim,)`.

    Straight between two draws of high-dimensional noise lie vectors shorter than any that a
    generator was trained on; along the arc the length stays (White, 2016, arXiv:1609.04468).
    """
    if t <= 0.0:
        return a.clone()
    if t >= 1.0:
        return b.clone()
    x, y = a.double(), b.double()
    lengths = x.norm() * y.norm()
    cosine = float((x @ y) / lengths) if float(lengths) > 0 else 1.0
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < 1e-6:
        return ((1.0 - t) * x + t * y).float()
    mixed = (math.sin((1.0 - t) * angle) * x + math.sin(t * angle) * y) / math.sin(angle)
    return mixed.float()
