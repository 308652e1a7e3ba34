"""Generator and critic of DCGAN (Radford et al., 2016, 1511.06434, section 3)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from t2i.networks.base import Critic, Joining, PictureGenerator, normalize_spectrally


def first_side(resolution: int) -> int:
    """Return the side from which doublings reach ``resolution``: 4 up to 7 pixels.

    Raises:
        ValueError: The resolution is not 4, 5, 6 or 7 doubled once or more.
    """
    side = resolution
    while side > 7 and side % 2 == 0:
        side //= 2
    if side == resolution or not 4 <= side <= 7:
        raise ValueError(f"resolution: {resolution} is not 4 to 7 doubled; give 28, 32 or 64")
    return side


def init_dcgan(network: nn.Module) -> None:
    """Draw convolutions and linear layers from N(0, 0.02), BatchNorm gains from N(1, 0.02)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, mean=1.0, std=0.02)


class DcganGenerator(PictureGenerator):
    """Fractionally strided convolutions, BatchNorm but at the output, ReLU, tanh.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding, put beside the noise.
        noise_dim: Length of the noise.
        width: Channels of the last hidden layer; they double at every halving of the side.
        norm: BatchNorm in the hidden layers.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 0,
        noise_dim: int = 100,
        width: int = 64,
        norm: bool = True,
    ) -> None:
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=(resolution,),
            config={
                "resolution": resolution,
                "channels": channels,
                "condition_dim": condition_dim,
                "noise_dim": noise_dim,
                "width": width,
                "norm": norm,
            },
        )
        side = first_side(resolution)
        here = width * resolution // (2 * side)
        self.start = nn.Linear(noise_dim + condition_dim, here * side * side)
        self.start_shape = (here, side, side)
        batch_norm: Callable[[int], nn.Module] = nn.BatchNorm2d if norm else _same
        layers: list[nn.Module] = [batch_norm(here), nn.ReLU()]
        while side < resolution:
            side *= 2
            last = side == resolution
            outward = channels if last else here // 2
            # BatchNorm takes away what a bias adds.
            layers += [nn.ConvTranspose2d(here, outward, 4, 2, 1, bias=last or not norm)]
            layers += [nn.Tanh()] if last else [batch_norm(outward), nn.ReLU()]
            here = outward
        self.body = nn.Sequential(*layers)
        init_dcgan(self)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map embedding and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        x = self.start(self.joined(embedding, noise)).unflatten(1, self.start_shape)
        drawn: Tensor = self.body(x)
        return drawn


class DcganCritic(Critic):
    """Strided convolutions, BatchNorm but at the input, leaky ReLU 0.2, no hidden linear layer.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        joining: How the condition enters.
        outputs: Outputs of a second head; 0 has none.
        width: Channels of the first layer; they double at every halving of the side.
        norm: BatchNorm after each convolution but the first.
        spectral: Normalise every weight spectrally.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 0,
        joining: Joining = "concat",
        outputs: int = 0,
        width: int = 64,
        norm: bool = True,
        spectral: bool = False,
    ) -> None:
        last = first_side(resolution)
        final = width * resolution // (2 * last)
        super().__init__(
            feature_dim=final * last * last,
            condition_dim=condition_dim,
            joining=joining,
            outputs=outputs,
        )
        layers: list[nn.Module] = []
        here, outward, side = channels + self.planes(condition_dim, joining), width, resolution
        while side > last:
            normed = norm and side < resolution
            layers += [nn.Conv2d(here, outward, 4, 2, 1, bias=not normed)]
            layers += [nn.BatchNorm2d(outward)] if normed else []
            layers += [nn.LeakyReLU(0.2)]
            here, outward, side = outward, 2 * outward, side // 2
        self.body = nn.Sequential(*layers, nn.Flatten())
        init_dcgan(self)
        if spectral:
            normalize_spectrally(self)

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, channels, r, r)`` to ``(n, feature_dim)``."""
        features: Tensor = self.body(pictures)
        return features


def _same(channels: int) -> nn.Module:
    return nn.Identity()
