"""Differentiable augmentation of what the discriminator sees. Zhao et al., 2020, 2006.10738.

Real and fake pictures alike pass through it, in both players' losses, so that gradients reach the
generator and it never learns to draw the augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.recipe import RowNoise


@dataclass(frozen=True)
class DiffAugment:
    """Colour, translation and cutout, each a switch; every picture draws its own.

    Attributes:
        colour: Brightness by ±0.5, saturation by 0 to 2 times, contrast by 0.5 to 1.5 times.
        translation: Shift by up to an eighth of the side, black where nothing was.
        cutout: Blacken a square of half the side, which may reach over the edge.
        flip: Mirror half of the pictures.
    """

    colour: bool = True
    translation: bool = True
    cutout: bool = True
    flip: bool = False

    def __call__(self, pictures: Tensor, noise: RowNoise, name: str) -> Tensor:
        """Augment ``(n, c, r, r)`` in [-1, 1]; the same noise and name do the same."""
        x = pictures
        if self.flip:
            mirrored = noise.uniform(f"{name}/flip", 1)[:, :, None, None] < 0.5
            x = torch.where(mirrored, x.flip(3), x)
        if self.colour:
            x = _colour(x, noise.uniform(f"{name}/colour", 3)[:, :, None, None])
        if self.translation:
            x = _translate(x, noise.uniform(f"{name}/translation", 2))
        if self.cutout:
            x = _cut(x, noise.uniform(f"{name}/cutout", 2))
        return x


def _colour(x: Tensor, drawn: Tensor) -> Tensor:
    x = x + (drawn[:, 0:1] - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (2.0 * drawn[:, 1:2]) + grey
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - middle) * (drawn[:, 2:3] + 0.5) + middle


def _translate(x: Tensor, drawn: Tensor, share: float = 0.125) -> Tensor:
    side = x.shape[-1]
    reach = round(side * share)
    shift = (drawn * (2 * reach + 1)).floor().long()
    padded = F.pad(x, (reach, reach, reach, reach))
    places = torch.arange(side, device=x.device)
    rows = shift[:, 0, None] + places
    columns = shift[:, 1, None] + places
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _cut(x: Tensor, drawn: Tensor, share: float = 0.5) -> Tensor:
    side = x.shape[-1]
    size = round(side * share)
    # Where the square starts: its middle lies anywhere in the picture.
    start = (drawn * (side + 1 - size % 2)).floor().long() - size // 2
    places = torch.arange(side, device=x.device)
    inside = (places >= start[..., None]) & (places < start[..., None] + size)
    square = inside[:, 0, :, None] & inside[:, 1, None, :]
    return x * (~square)[:, None].to(x.dtype)
