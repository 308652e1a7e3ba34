"""The way from one picture to another."""

from __future__ import annotations

import torch

from t2i.drawing import Inputs
from t2i.noise import slerp

__all__ = ["between"]


def between(first: Inputs, last: Inputs, place: float) -> Inputs:
    """Return what a picture on the way is drawn from.

    Embeddings change along the straight line, as generators trained by GAN-INT have seen them (Reed
    et al., 2016, arXiv:1605.05396, section 4.3); noise changes along the great arc.

    Args:
        first: what the first picture is drawn from.
        last: what the last is drawn from.
        place: 0 for the first picture to 1 for the last.
    """
    same = torch.equal(first.noise, last.noise) and torch.equal(
        first.conditioning_noise, last.conditioning_noise
    )
    noise, conditioning_noise = (
        start if same else slerp(start, stop, place)
        for start, stop in (
            (first.noise, last.noise),
            (first.conditioning_noise, last.conditioning_noise),
        )
    )
    embedding = torch.lerp(first.embedding, last.embedding, place)
    return Inputs(embedding, noise, conditioning_noise)
