"""A network that reads pictures: what is seen where it has learned to look makes up a code."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PictureNetwork", "looked_at"]


class PictureNetwork(nn.Module):
    """A picture's code.

    Parts move with the pose, so the network learns where to look: `places` maps of weights over
    each of its two deeper resolutions, and what is seen there makes up the code.

    Args:
        code_dim: Length of the code.
        width: Channels at half the resolution; they double at every halving.
        places: Places looked at, at each of the two resolutions.
    """

    def __init__(self, code_dim: int = 256, width: int = 32, places: int = 24) -> None:
        super().__init__()
        self.width = width
        self.fine = nn.Sequential(
            *_down(3, width),
            _Residual(width),
            *_down(width, 2 * width),
            _Residual(2 * width),
            _Residual(2 * width),
        )
        self.coarse = nn.Sequential(*_down(2 * width, 4 * width), _Residual(4 * width))
        self.look_fine = nn.Conv2d(2 * width, places, 1)
        self.look_coarse = nn.Conv2d(4 * width, places, 1)
        self.code = nn.Linear(places * 6 * width + 4 * width, code_dim)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(n, 3, r, r)`` in [-1, 1] to ``(n, code_dim)``."""
        return self.maps(pictures)[1]

    def features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature maps of both resolutions, fine and coarse."""
        fine = self.fine(pictures)
        return fine, self.coarse(fine)

    def maps(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the `features` and the code."""
        fine, coarse = self.features(pictures)
        seen = [
            looked_at(fine, self.look_fine(fine)),
            looked_at(coarse, self.look_coarse(coarse)),
            coarse.mean(dim=(2, 3)),
        ]
        return (fine, coarse), self.code(torch.cat(seen, dim=1))

    def map_shapes(self, resolution: int) -> tuple[tuple[int, int], ...]:
        """Return channels and side of each of the `features` of pictures of that side."""
        return ((2 * self.width, resolution // 4), (4 * self.width, resolution // 8))


def looked_at(x: Tensor, places: Tensor) -> Tensor:
    """Average ``(n, c, h, w)`` by softmax weights over each of ``(n, k, h, w)``: ``(n, k * c)``."""
    weights = places.flatten(2).float().softmax(dim=2).to(x.dtype)
    return torch.einsum("nkp,ncp->nkc", weights, x.flatten(2)).flatten(1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def _down(inward: int, outward: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inward, outward, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outward),
        nn.ReLU(),
    )
