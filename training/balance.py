"""The balance of two players' errors, held by a weight that moves. BEGAN, 1703.10717."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Balance(nn.Module):
    """k_t, and the error on real samples that its next move needs.

    Args:
        gamma: γ, the wanted share of the error on fakes in that on real samples.
        rate: λ_k, the step of k_t.
    """

    def __init__(self, gamma: float = 0.5, rate: float = 1e-3) -> None:
        super().__init__()
        self.gamma = gamma
        self.rate = rate
        self.k: Tensor
        self.real: Tensor
        self.register_buffer("k", torch.zeros(()))
        self.register_buffer("real", torch.zeros(()))

    def move(self, fake: Tensor) -> None:
        """Set ``k ← k + λ_k (γ L(x) - L(G(z)))``, kept in [0, 1], for the scalar L(G(z))."""
        moved = self.k + self.rate * (self.gamma * self.real - fake)
        self.k.copy_(moved.clamp(0.0, 1.0))

    def measure(self, fake: Tensor) -> Tensor:
        """Return M_global = ``L(x) + |γ L(x) - L(G(z))|`` (section 3.4.1), a scalar."""
        return self.real + (self.gamma * self.real - fake).abs()
