"""DCGAN under a caption. Reed et al., 2016, 1605.05396, section 4.1."""

from __future__ import annotations

from torch import Tensor

from t2i.networks.base import PictureGenerator
from t2i.networks.caption_critic import CaptionCode
from t2i.networks.dcgan import DcganGenerator, init_dcgan


class DcganCaptionGenerator(PictureGenerator):
    """DCGAN's generator with a caption's code beside the noise.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        code_dim: Length of the caption's code; 0 takes the standardised embedding.
        noise_dim: Length of the noise.
        width: Channels of the last hidden layer; they double at every halving of the side.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 384,
        code_dim: int = 128,
        noise_dim: int = 100,
        width: int = 64,
    ) -> None:
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=(resolution,),
            config={
                "resolution": resolution,
                "channels": channels,
                "condition_dim": condition_dim,
                "code_dim": code_dim,
                "noise_dim": noise_dim,
                "width": width,
            },
        )
        self.read = CaptionCode(condition_dim, code_dim)
        self.body = DcganGenerator(
            resolution=resolution,
            channels=channels,
            condition_dim=self.read.dim,
            noise_dim=noise_dim,
            width=width,
        )
        init_dcgan(self.read)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map captions and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        return self.body.draw(self.read(embedding), noise)
