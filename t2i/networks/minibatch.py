"""Minibatch discrimination: a critic that looks at samples beside each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2i.networks.base import Critic


class MinibatchDiscrimination(nn.Module):
    """How close each sample's features are to those of the batch.

    Salimans et al., 2016, 1606.03498, section 3.2: ``M_i = f(x_i) T`` is a matrix of ``kernels``
    rows, ``c_b(x_i, x_j) = exp(-‖M_ib - M_jb‖₁)``, and ``o(x_i)_b = Σ_j c_b(x_i, x_j)`` over all j
    of the batch, x_i itself among them.

    Args:
        feature_dim: Length of the features f.
        kernels: Rows of M, the paper's B: outputs.
        kernel_dim: Columns of M, the paper's C.
    """

    def __init__(self, feature_dim: int, kernels: int = 50, kernel_dim: int = 5) -> None:
        super().__init__()
        self.kernels = kernels
        self.project = nn.Linear(feature_dim, kernels * kernel_dim, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(n, feature_dim)`` to ``(n, kernels)``, each from 1 to n."""
        # Small differences of large numbers: bfloat16 would lose them.
        with torch.autocast(features.device.type, enabled=False):
            rows = self.project(features.float()).unflatten(1, (self.kernels, -1))
            apart = (rows[:, None] - rows[None, :]).abs().sum(dim=3)
            closeness: Tensor = torch.exp(-apart).sum(dim=1)
        return closeness


class MinibatchCritic(Critic):
    """Any unconditional critic, whose features get `MinibatchDiscrimination` beside them.

    Real and generated samples must be scored apart, as every recipe does.

    Args:
        critic: Computes the features; its own heads are not used.
        outputs: Outputs of a second head; 0 has none.
        kernels: See `MinibatchDiscrimination`.
        kernel_dim: See `MinibatchDiscrimination`.
    """

    def __init__(
        self, critic: Critic, *, outputs: int = 0, kernels: int = 50, kernel_dim: int = 5
    ) -> None:
        feature_dim = critic.score.in_features
        super().__init__(feature_dim=feature_dim + kernels, outputs=outputs)
        self.body = critic.without_heads()
        self.beside = MinibatchDiscrimination(feature_dim, kernels, kernel_dim)

    def look(self, pictures: Tensor) -> Tensor:
        """Map samples to ``(n, feature_dim + kernels)``."""
        features = self.body.look(pictures)
        return torch.cat([features, self.beside(features).to(features.dtype)], dim=1)
