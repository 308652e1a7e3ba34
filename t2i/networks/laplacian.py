"""A pyramid of generators, each adding the detail of one side. Denton et al., 2015, 1506.05751."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Critic, Drawn, PictureGenerator, Scores
from t2i.networks.mlp import MlpCritic, MlpGenerator


def halved(pictures: Tensor) -> Tensor:
    """Blur and drop every other row and column: ``(n, c, r, r)`` to ``(n, c, r/2, r/2)``, d(·)."""
    return F.interpolate(
        pictures, scale_factor=0.5, mode="bilinear", align_corners=False, antialias=True
    )


def doubled(pictures: Tensor) -> Tensor:
    """Enlarge smoothly: ``(n, c, r, r)`` to ``(n, c, 2r, 2r)``, u(·)."""
    return F.interpolate(pictures, scale_factor=2.0, mode="bilinear", align_corners=False)


def gaussian_pyramid(pictures: Tensor, levels: int) -> list[Tensor]:
    """Return the pictures and their ``levels`` halvings, coarse to fine."""
    pyramid = [pictures]
    for _ in range(levels):
        pyramid.insert(0, halved(pyramid[0]))
    return pyramid


class DetailGenerator(nn.Module):
    """Draws what a picture that was enlarged lacks: h = G(z, l), with z as a plane of its own.

    Three convolutions with ReLU between them (section 4).

    Args:
        side: Side of the pictures.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding, which becomes one more plane; 0 for none.
        width: Channels of the hidden layers.
    """

    def __init__(self, side: int, channels: int, condition_dim: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.plane = nn.Linear(condition_dim, side * side) if condition_dim else None
        inward = channels + 1 + (self.plane is not None)
        self.body = nn.Sequential(
            nn.Conv2d(inward, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, channels, 5, padding=2),
        )

    def forward(self, low: Tensor, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map ``(n, c, r, r)``, the embedding and ``(n, r²)`` noise to details ``(n, c, r, r)``."""
        planes = [low, noise.reshape(-1, 1, self.side, self.side)]
        if self.plane is not None:
            planes.append(self.plane(embedding).reshape(-1, 1, self.side, self.side))
        details: Tensor = self.body(torch.cat(planes, dim=1))
        return details


class LaplacianGenerator(PictureGenerator):
    """A coarse picture by linear layers, then details, side by side: I = u(I') + G(z, u(I')).

    Every level is a stage of the drawing; the noise is that of the coarse one and a plane a level.

    Args:
        resolution: Side of the pictures.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding; 0 draws without a condition.
        noise_dim: Length of the coarse picture's noise; the whole is longer.
        levels: How often the coarse picture is doubled.
        width: Channels of the details' hidden layers; linear layers have 16 times as many units.

    Raises:
        ValueError: The side cannot be halved so often.
    """

    def __init__(
        self,
        *,
        resolution: int = 32,
        channels: int = 3,
        condition_dim: int = 0,
        noise_dim: int = 100,
        levels: int = 2,
        width: int = 64,
    ) -> None:
        coarse = resolution >> levels
        if levels < 1 or coarse << levels != resolution or coarse < 4:
            raise ValueError(
                f"levels: {resolution} pixels cannot be halved {levels} times to 4 or more; give a "
                "smaller number from 1, or another resolution"
            )
        sides = [coarse << k for k in range(levels + 1)]
        parts = [noise_dim, *(side * side for side in sides[1:])]
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=sum(parts),
            resolutions=sides,
            config={
                "resolution": resolution,
                "channels": channels,
                "condition_dim": condition_dim,
                "noise_dim": noise_dim,
                "levels": levels,
                "width": width,
            },
        )
        self.parts = parts
        self.coarse = MlpGenerator(
            sample_shape=(channels, coarse, coarse),
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            width=16 * width,
            depth=2,
        )
        self.details = nn.ModuleList(
            DetailGenerator(side, channels, condition_dim, width) for side in sides[1:]
        )

    def parted(self, noise: Tensor) -> list[Tensor]:
        """Split ``(n, noise_dim)`` into the coarse picture's noise and a plane a level."""
        return list(torch.split(noise, self.parts, dim=1))

    def refined(self, level: int, low: Tensor, embedding: Tensor, noise: Tensor) -> Tensor:
        """Add details to an enlarged picture: ``l + G(z, l)``, both ``(n, c, r, r)``.

        Args:
            level: 1 for the level above the coarse picture, up to the finest.
            low: l, the next coarser picture, `doubled`.
            embedding: ``(n, condition_dim)``.
            noise: ``(n, r²)``.
        """
        details: Tensor = self.details[level - 1](low, embedding, noise)
        return low + details

    def drawn_above(
        self, pyramid: Sequence[Tensor], level: int, embedding: Tensor, noise: Tensor
    ) -> Tensor:
        """Draw one level ``(n, c, r, r)`` as if those below it were real pictures.

        Args:
            pyramid: Real pictures of all levels, coarse to fine.
            level: 0 for the coarse picture, which has nothing below it, up to the finest.
            embedding: ``(n, condition_dim)``.
            noise: ``(n, parts[level])``.
        """
        if level == 0:
            return self.coarse.draw(embedding, noise)
        return self.refined(level, doubled(pyramid[level - 1]), embedding, noise)

    def forward(
        self, embedding: Tensor, noise: Tensor, conditioning_noise: Tensor | None = None
    ) -> Drawn:
        """Draw one picture a row and level; ``conditioning_noise`` is taken for the protocol."""
        first, *rest = self.parted(noise)
        drawn = [self.coarse.draw(embedding, first)]
        for level, plane in enumerate(rest, start=1):
            drawn.append(self.refined(level, doubled(drawn[-1]), embedding, plane))
        # Details have no bound, so that what is added to black may be taken away again.
        return Drawn(tuple(stage.float().clamp(-1.0, 1.0) for stage in drawn))

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map embedding and noise to the finest picture ``(n, channels, r, r)`` in [-1, 1]."""
        return self.forward(embedding, noise).pictures[-1]


class DetailCritic(Critic):
    """Two strided convolutions with leaky ReLU and dropout, then the score (section 4).

    Args:
        side: Side of the pictures.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding, put beside the input.
        width: Channels of the first layer; the second has twice as many.
        dropout: Probability of dropping a feature before the score.
    """

    def __init__(
        self,
        *,
        side: int,
        channels: int = 3,
        condition_dim: int = 0,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        last = (((side + 1) // 2) + 1) // 2
        super().__init__(feature_dim=2 * width * last * last, condition_dim=condition_dim)
        self.body = nn.Sequential(
            nn.Conv2d(channels + condition_dim, width, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 5, stride=2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Dropout(dropout),
        )

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, channels, r, r)`` to ``(n, feature_dim)``."""
        features: Tensor = self.body(pictures)
        return features


class LaplacianCritic(nn.Module):
    """A critic a level: linear layers for the coarse picture, a `DetailCritic` for each other.

    Args:
        sides: Side of each level's pictures, coarse to fine.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding; 0 judges without a condition.
        width: Channels of each first layer; linear layers have 8 times as many units.
        dropout: Probability of dropping a feature.
    """

    def __init__(
        self,
        *,
        sides: Sequence[int],
        channels: int = 3,
        condition_dim: int = 0,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        first, *rest = sides
        critics: list[Critic] = [
            MlpCritic(
                sample_shape=(channels, first, first),
                condition_dim=condition_dim,
                width=8 * width,
                depth=2,
                dropout=dropout,
            )
        ]
        critics += [
            DetailCritic(
                side=side,
                channels=channels,
                condition_dim=condition_dim,
                width=width,
                dropout=dropout,
            )
            for side in rest
        ]
        self.critics = nn.ModuleList(critics)

    def forward(self, level: int, pictures: Tensor, embedding: Tensor | None = None) -> Scores:
        """Score pictures ``(n, c, r, r)`` of a level, 0 for the coarsest."""
        scores: Scores = self.critics[level](pictures, embedding)
        return scores
