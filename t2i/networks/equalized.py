"""Layers of progressive growing: equalised learning rate, pixel norm, deviation over the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EqualizedConv2d(nn.Conv2d):
    """Convolution with weights from N(0, 1), scaled by He's constant each time it runs.

    All weights then have the same range, so Adam moves all layers at the same speed. Karras et al.,
    2018, 1710.10196, section 4.1.

    Args:
        inward: Channels of the input.
        outward: Channels of the output.
        size: Side of the kernel; the side of the features stays when it is odd.
        padding: Zeros around the features; None keeps their side.
        gain: What the deviation of the output shall be of the input's.
    """

    def __init__(
        self,
        inward: int,
        outward: int,
        size: int,
        *,
        padding: int | None = None,
        gain: float = math.sqrt(2.0),
    ) -> None:
        inset = size // 2 if padding is None else padding
        super().__init__(inward, outward, size, padding=inset)
        self.inset = inset
        self.scale = gain / math.sqrt(inward * size * size)
        _start(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(n, inward, h, w)`` to ``(n, outward, h', w')``."""
        return F.conv2d(input, self.weight * self.scale, self.bias, padding=self.inset)


class EqualizedLinear(nn.Linear):
    """Linear layer with weights from N(0, 1), scaled each time it runs; see `EqualizedConv2d`.

    Args:
        inward: Length of the input.
        outward: Length of the output.
        gain: What the deviation of the output shall be of the input's.
    """

    def __init__(self, inward: int, outward: int, *, gain: float = math.sqrt(2.0)) -> None:
        super().__init__(inward, outward)
        self.scale = gain / math.sqrt(inward)
        _start(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(n, inward)`` to ``(n, outward)``."""
        return F.linear(input, self.weight * self.scale, self.bias)


def _start(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.normal_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def pixel_norm(x: Tensor) -> Tensor:
    """Scale the features of each place of ``(n, c, ...)`` to mean square 1. 1710.10196, 4.2."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def batch_deviation(x: Tensor) -> Tensor:
    """Add one plane to ``(n, c, h, w)``: how much the batch differs. 1710.10196, section 3.

    The deviation over the batch of each feature at each place, averaged to one number.
    """
    # The root has no slope at zero, where all pictures of the batch are equal.
    deviation = (x.float().var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    plane = deviation.to(x.dtype).expand(len(x), 1, *x.shape[2:])
    return torch.cat([x, plane], dim=1)
