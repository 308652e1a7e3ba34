"""Generator and critic of linear layers: for points, and for pictures taken as vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from t2i.networks.base import Critic, Joining, PictureGenerator, normalize_spectrally


class Maxout(nn.Module):
    """Linear layer whose every output is the largest of several. Goodfellow et al., 1302.4389.

    Args:
        inward: Length of the input.
        outward: Length of the output.
        pieces: Candidates for each output.
    """

    def __init__(self, inward: int, outward: int, pieces: int = 5) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inward, outward * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inward)`` to ``(n, outward)``."""
        best: Tensor = self.linear(x).unflatten(1, (-1, self.pieces)).amax(dim=2)
        return best


class MlpGenerator(PictureGenerator):
    """Linear layers with ReLU; the last is linear for points and tanh for pictures.

    Args:
        sample_shape: Shape of one sample: ``(2,)`` for points, ``(c, r, r)`` for pictures.
        condition_dim: Length of the embedding, put beside the noise.
        noise_dim: Length of the noise.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        norm: BatchNorm after each hidden layer.
    """

    def __init__(
        self,
        *,
        sample_shape: Sequence[int] = (2,),
        condition_dim: int = 0,
        noise_dim: int = 64,
        width: int = 128,
        depth: int = 3,
        norm: bool = False,
    ) -> None:
        shape = tuple(int(side) for side in sample_shape)
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=shape[-1:] if len(shape) == 3 else (),
            config={
                "sample_shape": list(shape),
                "condition_dim": condition_dim,
                "noise_dim": noise_dim,
                "width": width,
                "depth": depth,
                "norm": norm,
            },
        )
        self.sample_shape = shape
        layers: list[nn.Module] = []
        inward = noise_dim + condition_dim
        for _ in range(depth):
            layers += [nn.Linear(inward, width), *([nn.BatchNorm1d(width)] if norm else [])]
            layers += [nn.ReLU()]
            inward = width
        layers += [nn.Linear(inward, math.prod(shape))]
        if len(shape) == 3:
            layers += [nn.Tanh()]
        self.body = nn.Sequential(*layers)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map embedding and noise to ``(n, *sample_shape)``."""
        drawn: Tensor = self.body(self.joined(embedding, noise))
        return drawn.reshape(-1, *self.sample_shape)


class MlpCritic(Critic):
    """Linear layers with leaky ReLU, or with maxout and dropout as in the first GAN.

    Args:
        sample_shape: Shape of one sample.
        condition_dim: Length of the embedding.
        joining: How the condition enters.
        outputs: Outputs of a second head; 0 has none.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        maxout: Pieces of maxout units; 0 takes leaky ReLU.
        dropout: Probability of dropping a hidden unit.
        norm: BatchNorm after each hidden layer but the first.
        spectral: Normalise every weight spectrally.
    """

    def __init__(
        self,
        *,
        sample_shape: Sequence[int] = (2,),
        condition_dim: int = 0,
        joining: Joining = "concat",
        outputs: int = 0,
        width: int = 128,
        depth: int = 3,
        maxout: int = 0,
        dropout: float = 0.0,
        norm: bool = False,
        spectral: bool = False,
    ) -> None:
        super().__init__(
            feature_dim=width, condition_dim=condition_dim, joining=joining, outputs=outputs
        )
        shape = list(sample_shape)
        shape[0] += self.planes(condition_dim, joining)
        inward = math.prod(shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for number in range(depth):
            layers += [Maxout(inward, width, maxout)] if maxout else [nn.Linear(inward, width)]
            layers += [nn.BatchNorm1d(width)] if norm and number else []
            layers += [] if maxout else [nn.LeakyReLU(0.2)]
            layers += [nn.Dropout(dropout)] if dropout else []
            inward = width
        self.body = nn.Sequential(*layers)
        if spectral:
            normalize_spectrally(self)

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, *sample_shape)`` to ``(n, width)``."""
        features: Tensor = self.body(pictures)
        return features
