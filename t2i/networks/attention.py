"""Self-attention over the places of a feature map. Zhang et al., 2019, 1805.08318, section 3."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfAttention2d(nn.Module):
    """Every place gathers what it needs from all other places, beside what it has.

    y = γ·o + x,  o_j = v(Σ_i β_ji h(x_i)),  β_j = softmax_i(f(x_i)ᵀ g(x_j))     (eq. 1 to 3)

    γ starts at 0: the layer is the identity at first and learns how much to add.

    Args:
        channels: Channels of the features; f, g and h have an eighth of them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.key = nn.Conv2d(channels, inner, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def weights(self, x: Tensor) -> Tensor:
        """Return β ``(n, places, places)`` of ``(n, channels, h, w)``: each row sums to 1."""
        keys, queries = self.key(x).flatten(2), self.query(x).flatten(2)
        beta: Tensor = (queries.transpose(1, 2) @ keys).float().softmax(dim=2)
        return beta

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` to the same shape."""
        values = self.value(x).flatten(2)
        gathered = values @ self.weights(x).to(values.dtype).transpose(1, 2)
        told: Tensor = x + self.gamma.to(x.dtype) * self.out(gathered.unflatten(2, x.shape[2:]))
        return told
