"""Batch normalisation whose gain and bias follow the condition."""

from __future__ import annotations

from torch import Tensor, nn


class ConditionalBatchNorm2d(nn.Module):
    """BatchNorm with a gain and a bias for each condition; plain BatchNorm without a condition.

    Dumoulin et al., 2017, 1610.07629; de Vries et al., 2017, 1707.00683. Gain and bias are linear
    in the embedding, so mixtures of labels have gains between theirs.

    Args:
        channels: Channels of the features.
        condition_dim: Length of the embedding; 0 learns one gain and bias for all.
    """

    def __init__(self, channels: int, condition_dim: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not condition_dim)
        self.gain: nn.Linear | None = None
        self.bias: nn.Linear | None = None
        if condition_dim:
            self.gain = nn.Linear(condition_dim, channels, bias=False)
            self.bias = nn.Linear(condition_dim, channels, bias=False)
            nn.init.zeros_(self.gain.weight)
            nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Normalise ``(n, channels, h, w)`` under ``(n, condition_dim)``."""
        y: Tensor = self.norm(x)
        if self.gain is None or self.bias is None:
            return y
        gain, bias = 1.0 + self.gain(embedding), self.bias(embedding)
        moved: Tensor = y * gain.to(y.dtype)[:, :, None, None]
        moved = moved + bias.to(y.dtype)[:, :, None, None]
        return moved
