"""A classifying critic of linear layers with noise before each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from t2i.networks.base import Critic


class GaussianNoise(nn.Module):
    """Adds noise while training.

    Args:
        deviation: Of the noise.
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        return x + self.deviation * torch.randn_like(x) if self.training else x


class NoisyCritic(Critic):
    """Linear layers with weight normalisation and ReLU; noise on what each layer and head is given.

    The discriminator for digits of Salimans et al., 2016, 1606.03498, section 5.1.

    Args:
        sample_shape: Shape of one sample.
        widths: Of the hidden layers.
        noise: Deviations of the noise on the input, and on each hidden layer.
        outputs: Outputs of a second head; 0 has none.
    """

    def __init__(
        self,
        *,
        sample_shape: Sequence[int],
        widths: Sequence[int] = (1000, 500, 250, 250, 250),
        noise: tuple[float, float] = (0.3, 0.5),
        outputs: int = 0,
    ) -> None:
        super().__init__(feature_dim=widths[-1], outputs=outputs)
        layers: list[nn.Module] = [nn.Flatten(), GaussianNoise(noise[0])]
        inward = math.prod(sample_shape)
        for width in widths:
            layers += [weight_norm(nn.Linear(inward, width)), nn.ReLU(), GaussianNoise(noise[1])]
            inward = width
        self.body = nn.Sequential(*layers)

    def look(self, pictures: Tensor) -> Tensor:
        """Map samples to ``(n, widths[-1])``."""
        features: Tensor = self.body(pictures)
        return features
