"""The way from one picture to another."""

from __future__ import annotations

import torch

from t2i.drawing import Inputs
from t2i.errors import InvalidInput
from t2i.noise import check_seed, random_seed, slerp

__all__ = ["between", "read_ends"]


def between(first: Inputs, last: Inputs, steps: int) -> list[Inputs]:
    """Return what the pictures of a way are drawn from, its ends included.

    Embeddings change along the straight line, as generators trained by GAN-INT have seen them (Reed
    et al., 2016, arXiv:1605.05396, section 4.3); noise changes along the great arc.

    Args:
        first: what the first picture is drawn from.
        last: what the last is drawn from.
        steps: number of pictures, 2 or more.
    """
    same = torch.equal(first.noise, last.noise) and torch.equal(
        first.conditioning_noise, last.conditioning_noise
    )
    way: list[Inputs] = []
    for step in range(steps):
        t = step / (steps - 1)
        noise, conditioning_noise = (
            start if same else slerp(start, stop, t)
            for start, stop in (
                (first.noise, last.noise),
                (first.conditioning_noise, last.conditioning_noise),
            )
        )
        embedding = torch.lerp(first.embedding, last.embedding, t)
        way.append(Inputs(embedding, noise, conditioning_noise))
    return way


def read_ends(seed: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the seeds of the first and the last picture.

    Args:
        seed: one for both, or the two; None draws one for both.

    Raises:
        InvalidInput: if it is neither one seed nor two, or a seed is out of range.
    """
    if isinstance(seed, tuple | list):
        if len(seed) != 2:
            raise InvalidInput("seed", seed, f"has {len(seed)} seeds", "give one or two")
        return check_seed("seed[0]", seed[0]), check_seed("seed[1]", seed[1])
    one = random_seed() if seed is None else check_seed("seed", seed)
    return one, one
