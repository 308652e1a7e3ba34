"""Networks that read pictures: what is seen where they have learned to look makes up a code."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PictureNetwork", "PictureReader", "looked_at"]


class PictureReader(nn.Module, ABC):
    """Base of networks that read pictures; a subclass implements `features`, `maps`, `map_shapes`.

    A picture is read in two ways: as feature maps, which a critic can go on from, and as one code,
    which can be compared with a caption's. Pictures are ``(n, 3, r, r)`` in [-1, 1] everywhere.
    """

    @abstractmethod
    def features(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return feature maps ``(n, channels, side, side)``, one a resolution, fine to coarse."""

    @abstractmethod
    def maps(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the `features` and the codes ``(n, code_dim)``."""

    @abstractmethod
    def map_shapes(self, resolution: int) -> tuple[tuple[int, int], ...]:
        """Return channels and side of each of the `features` of pictures of that side."""

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the codes ``(n, code_dim)`` alone."""
        return self.maps(pictures)[1]


class PictureNetwork(PictureReader):
    """A picture's code, all of it learned.

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

    def features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `PictureReader`: maps of a fourth and of an eighth of the side."""
        fine = self.fine(pictures)
        return fine, self.coarse(fine)

    def maps(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See `PictureReader`."""
        fine, coarse = self.features(pictures)
        seen = [
            looked_at(fine, self.look_fine(fine)),
            looked_at(coarse, self.look_coarse(coarse)),
            coarse.mean(dim=(2, 3)),
        ]
        return (fine, coarse), self.code(torch.cat(seen, dim=1))

    def map_shapes(self, resolution: int) -> tuple[tuple[int, int], ...]:
        """See `PictureReader`."""
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
