"""Tells where the parts of an illustrated bird are: a segmentation learned from the renderer.

The renderer knows which pixels show which part, so a small network can learn it and then read it
off pictures that no renderer drew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.birds.attributes import COLOURED_PARTS
from training.data.birds.dataset import bird_at
from training.data.birds.drawing import part_masks, render
from training.metrics.features import Progress


class PartNetwork(nn.Module):
    """Encoder and decoder with shortcuts; a logit a part and pixel.

    Args:
        parts: Number of parts.
        width: Channels at the full side.
    """

    def __init__(self, parts: int, width: int = 16) -> None:
        super().__init__()
        self.enter = _convolutions(3, width, 1)
        self.down1 = _convolutions(width, 2 * width, 2)
        self.down2 = _convolutions(2 * width, 4 * width, 2)
        self.up1 = _convolutions(6 * width, 2 * width, 1)
        self.up2 = _convolutions(3 * width, width, 1)
        self.last = nn.Conv2d(width, parts, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, 3, r, r)`` in [-1, 1] to logits ``(n, parts, r, r)``."""
        fine = self.enter(x)
        middle = self.down1(fine)
        coarse = self.down2(middle)
        y = self.up1(torch.cat([F.interpolate(coarse, size=middle.shape[-2:]), middle], dim=1))
        y = self.up2(torch.cat([F.interpolate(y, size=fine.shape[-2:]), fine], dim=1))
        logits: Tensor = self.last(y)
        return logits


def _convolutions(inward: int, outward: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outward),
        nn.ReLU(),
        nn.Conv2d(outward, outward, 3, padding=1, bias=False),
        nn.BatchNorm2d(outward),
        nn.ReLU(),
    )


@dataclass(frozen=True)
class PartSegmenter:
    """A trained network and how good it is.

    Attributes:
        network: In evaluation mode.
        iou: ``(parts,)`` on birds that it did not learn from.
        parts: Their names.
    """

    network: PartNetwork
    iou: Tensor
    parts: tuple[str, ...] = COLOURED_PARTS

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Map pictures ``(n, 3, r, r)`` in [-1, 1] to booleans ``(n, parts, r, r)``."""
        return torch.cat([self.network(chunk) > 0 for chunk in torch.split(pictures, 128)])


def birds_with_masks(split: str, count: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw birds and where their parts are.

    Args:
        split: ``train`` or ``val``.
        count: How many.
        size: Side in pixels.
        seed: Of the birds.

    Returns:
        Pictures ``(n, 3, size, size)`` in [-1, 1] and booleans ``(n, parts, size, size)``.
    """
    pictures, masks = [], []
    for index in range(count):
        bird, _ = bird_at("val" if split == "val" else "train", seed, index)
        pictures.append(render(bird, size))
        found = part_masks(bird, size)
        masks.append(np.stack([found[part] > 0.5 for part in COLOURED_PARTS]))
    drawn = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return drawn, torch.from_numpy(np.stack(masks))


def fit_parts(
    *,
    size: int = 32,
    count: int = 1200,
    held_out: int = 200,
    steps: int = 500,
    batch: int = 64,
    width: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> PartSegmenter:
    """Train a segmentation of birds' parts and measure it on birds that it has not seen.

    Args:
        size: Side of the pictures in pixels.
        count: Birds to learn from.
        held_out: Birds to measure it on.
        steps: Steps of Adam.
        batch: Birds a step.
        width: Channels at the full side.
        seed: Of the birds, the weights and the order.
        progress: Called with the number of birds shown since the last call.
    """
    pictures, masks = birds_with_masks("train", count, size, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PartNetwork(len(COLOURED_PARTS), width)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    # A part covers a few of a hundred pixels; without a weight "nowhere" is a good answer for long.
    weight = torch.tensor(3.0)
    for _ in range(steps):
        rows = torch.randint(count, (batch,), generator=generator)
        loss = F.binary_cross_entropy_with_logits(
            network(pictures[rows]), masks[rows].float(), pos_weight=weight
        )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(batch)
    network.eval().requires_grad_(False)
    pictures, masks = birds_with_masks("val", held_out, size, seed)
    told = PartSegmenter(network, torch.zeros(len(COLOURED_PARTS)))(pictures)
    both = (told & masks).sum(dim=(0, 2, 3)).float()
    either = (told | masks).sum(dim=(0, 2, 3)).float()
    return PartSegmenter(network, both / either.clamp(min=1.0))
