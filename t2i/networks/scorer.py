"""How well pictures agree with what was asked: what the best of several candidates is chosen by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.blocks import Standardize
from t2i.networks.picture_reader import PictureNetwork


class Scorer(nn.Module):
    """Two directions, of a picture and of an embedding, whose cosine is the score.

    It is a matcher (as CLIP, 2103.00020, and DAMSM's sentence half, 1711.10485), small enough to
    travel with a bundle, and no part of any generator's training: a generator is good at pleasing
    the matcher that it was trained with, whatever its pictures show.

    Args:
        embedding_dim: How many numbers of an embedding it reads, from the first on; the states of
            single words stand behind them.
        resolution: Side to which pictures are brought.
        width: Channels of the picture network's first layer.
        places: Places that the picture network looks at, at each of two resolutions.
        code_dim: Length of the directions.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 256,
        resolution: int = 64,
        width: int = 24,
        places: int = 16,
        code_dim: int = 128,
    ) -> None:
        super().__init__()
        if resolution < 8:
            raise ValueError(f"resolution: {resolution} pixels cannot be halved thrice; give 8 on")
        self.embedding_dim = embedding_dim
        self.resolution = resolution
        self.config: dict[str, object] = {
            "embedding_dim": embedding_dim,
            "resolution": resolution,
            "width": width,
            "places": places,
            "code_dim": code_dim,
        }
        self.pictures = PictureNetwork(code_dim, width, places)
        self.standardize = Standardize(embedding_dim)
        hidden = 2 * min(embedding_dim, 2 * code_dim)
        self.said = nn.Sequential(
            nn.Linear(embedding_dim, hidden), nn.GELU(), nn.Linear(hidden, code_dim)
        )

    def see(self, pictures: Tensor) -> Tensor:
        """Map ``(n, c, r, r)`` in [-1, 1], c 3 or 1, to unit vectors ``(n, code_dim)``."""
        x = pictures.expand(-1, 3, -1, -1)
        if x.shape[-1] != self.resolution:
            side = (self.resolution, self.resolution)
            x = F.interpolate(x, size=side, mode="bilinear", antialias=True, align_corners=False)
        return F.normalize(self.pictures(x).float(), dim=1)

    def read(self, embeddings: Tensor) -> Tensor:
        """Map ``(n, embedding_dim)`` or longer to unit vectors ``(n, code_dim)``."""
        read = embeddings[:, : self.embedding_dim].float()
        return F.normalize(self.said(self.standardize(read)).float(), dim=1)

    def forward(self, pictures: Tensor, embeddings: Tensor) -> Tensor:
        """Score each picture with its own embedding: ``(n,)`` cosines, -1 to 1."""
        scores: Tensor = torch.linalg.vecdot(self.see(pictures), self.read(embeddings))
        return scores
