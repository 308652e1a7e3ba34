"""Critics that judge by how well they can rebuild what they see: autoencoders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from t2i.networks.base import Scores
from t2i.networks.dcgan import init_dcgan

Exponent = Literal[1, 2]
COARSEST = 8


class Autoencoder(nn.Module):
    """Base of autoencoders; a subclass gives ``encoder`` and ``decoder``.

    The energy of a sample is the mean of ``|x - Dec(Enc(x))|`` to a power. Its negative is the
    logit, so that here too real is high; the code is what `Scores` calls features.

    Args:
        encoder: From samples to codes ``(n, d)``.
        decoder: From codes to samples.
        exponent: 2 for squared differences, 1 for absolute ones.
    """

    condition_dim = 0

    def __init__(self, encoder: nn.Module, decoder: nn.Module, exponent: Exponent = 2) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.exponent = exponent

    def rebuild(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return what became of samples, of their shape, and their codes ``(n, d)``."""
        codes = self.encoder(samples)
        return self.decoder(codes), codes

    def forward(self, samples: Tensor, embedding: Tensor | None = None) -> Scores:
        """Score samples; ``embedding`` is taken for the sake of other critics and not looked at."""
        rebuilt, codes = self.rebuild(samples)
        apart = (samples.float() - rebuilt.float()).flatten(1)
        energy = apart.abs() if self.exponent == 1 else apart.square()
        return Scores(-energy.mean(dim=1), codes.float())


class MlpAutoencoder(Autoencoder):
    """Linear layers with leaky ReLU to a code and back.

    Args:
        sample_shape: Shape of one sample.
        width: Width of the hidden layers.
        code_dim: Length of the code.
        exponent: Of the difference.
    """

    def __init__(
        self,
        *,
        sample_shape: Sequence[int] = (2,),
        width: int = 128,
        code_dim: int = 64,
        exponent: Exponent = 2,
    ) -> None:
        shape = tuple(int(side) for side in sample_shape)
        size = math.prod(shape)
        super().__init__(
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(size, width),
                nn.LeakyReLU(0.2),
                nn.Linear(width, code_dim),
            ),
            nn.Sequential(
                nn.LeakyReLU(0.2),
                nn.Linear(code_dim, width),
                nn.LeakyReLU(0.2),
                nn.Linear(width, size),
                nn.Unflatten(1, shape),
            ),
            exponent,
        )


class DcganAutoencoder(Autoencoder):
    """Strided convolutions down to 5 to 8 pixels and fractionally strided ones back.

    At 64 pixels it is the discriminator of EBGAN (Zhao et al., 2017, 1609.03126, appendix D):
    three layers of 4x4 kernels each way, BatchNorm but at input and output, leaky ReLU 0.2.

    Args:
        resolution: Side of the pictures: 5 to 8 pixels doubled once or more.
        channels: Channels of the pictures.
        width: Channels of the first layer; they double at every halving of the side.
        norm: BatchNorm in the hidden layers.
        exponent: Of the difference.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        width: int = 64,
        norm: bool = True,
        exponent: Exponent = 2,
    ) -> None:
        side = coarsest_side(resolution)
        halvings = round(math.log2(resolution / side))
        widths = [channels, *(width * 2**step for step in range(halvings))]
        down: list[nn.Module] = []
        up: list[nn.Module] = [nn.Unflatten(1, (widths[-1], side, side)), nn.LeakyReLU(0.2)]
        for step, (here, there) in enumerate(itertools.pairwise(widths)):
            outer, inner = step == 0, step == halvings - 1
            # The code is what the last convolution gives, before any unit bends it.
            down += [nn.Conv2d(here, there, 4, 2, 1)]
            down += [nn.BatchNorm2d(there)] if norm and not outer and not inner else []
            down += [] if inner else [nn.LeakyReLU(0.2)]
            back: list[nn.Module] = [nn.ConvTranspose2d(there, here, 4, 2, 1)]
            if not outer:
                back += [nn.BatchNorm2d(here)] if norm else []
                back += [nn.LeakyReLU(0.2)]
            up[2:2] = back
        super().__init__(nn.Sequential(*down, nn.Flatten()), nn.Sequential(*up), exponent)
        init_dcgan(self)


def coarsest_side(resolution: int) -> int:
    """Return the side from which doublings reach ``resolution``: 5 up to 8 pixels.

    Raises:
        ValueError: The resolution is not 5, 6, 7 or 8 doubled once or more.
    """
    side = resolution
    while side > COARSEST and side % 2 == 0:
        side //= 2
    if side == resolution or side > COARSEST:
        raise ValueError(f"resolution: {resolution} is not 5 to 8 doubled; give 28, 32 or 64")
    return side
