"""Generator and autoencoder of BEGAN (Berthelot et al., 2017, 1703.10717, figure 1)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from t2i.networks.autoencoder import Autoencoder, Exponent, coarsest_side
from t2i.networks.base import PictureGenerator


class BeganGenerator(PictureGenerator):
    """A linear layer to 5 to 8 pixels, then pairs of convolutions between nearest doublings.

    Args:
        resolution: Side of the pictures: 5 to 8 pixels doubled once or more.
        channels: Channels of the pictures.
        noise_dim: Length of the noise.
        width: Channels of every hidden layer.
    """

    def __init__(
        self, *, resolution: int = 64, channels: int = 3, noise_dim: int = 64, width: int = 64
    ) -> None:
        super().__init__(
            condition_dim=0,
            noise_dim=noise_dim,
            resolutions=(resolution,),
            config={
                "resolution": resolution,
                "channels": channels,
                "noise_dim": noise_dim,
                "width": width,
            },
        )
        # The paper's last layer is linear; pictures must stay between -1 and 1.
        self.body = nn.Sequential(decoder(resolution, channels, noise_dim, width), nn.Tanh())

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map noise to ``(n, channels, r, r)`` in [-1, 1]; there is no condition."""
        drawn: Tensor = self.body(noise)
        return drawn


class BeganAutoencoder(Autoencoder):
    """Pairs of convolutions between halvings, a short code, and the generator's way back.

    Args:
        resolution: Side of the pictures: 5 to 8 pixels doubled once or more.
        channels: Channels of the pictures.
        code_dim: Length of the code.
        width: Channels of the first layer; each halving adds as many.
        exponent: Of the difference; 1 in the paper.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        code_dim: int = 64,
        width: int = 64,
        exponent: Exponent = 1,
    ) -> None:
        super().__init__(
            encoder(resolution, channels, code_dim, width),
            decoder(resolution, channels, code_dim, width),
            exponent,
        )


def encoder(resolution: int, channels: int, code_dim: int, width: int) -> nn.Sequential:
    """Return layers from ``(n, channels, r, r)`` to ``(n, code_dim)``."""
    side = coarsest_side(resolution)
    levels = round(math.log2(resolution / side)) + 1
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ELU()]
    for level in range(1, levels + 1):
        here, last = level * width, level == levels
        layers += [nn.Conv2d(here, here, 3, padding=1), nn.ELU()]
        outward, stride = (here, 1) if last else (here + width, 2)
        layers += [nn.Conv2d(here, outward, 3, stride, padding=1), nn.ELU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(levels * width * side**2, code_dim))


def decoder(resolution: int, channels: int, code_dim: int, width: int) -> nn.Sequential:
    """Return layers from ``(n, code_dim)`` to ``(n, channels, r, r)``, the last of them linear."""
    side = coarsest_side(resolution)
    shape = (width, side, side)
    layers: list[nn.Module] = [nn.Linear(code_dim, math.prod(shape)), nn.Unflatten(1, shape)]
    while True:
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ELU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ELU()]
        if side == resolution:
            return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))
        layers += [nn.Upsample(scale_factor=2)]
        side *= 2
