"""Generator and critic of DCGAN (Radford et al., 2016, 1511.06434, section 3).

The variants by which WGAN-GP shows that it trains any architecture (Gulrajani et al., 2017,
1704.00028, section 5.2) are arguments: other activations, constant width, layer normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from t2i.networks.base import Critic, Joining, PictureGenerator, normalize_spectrally

Activation = Literal["relu", "tanh", "gated"]


class Gated(nn.Module):
    """A product of two halves of the channels: σ of the one, tanh of the other (1606.05328)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, 2 c, ...)`` to ``(n, c, ...)``."""
        gate, value = x.chunk(2, dim=1)
        return gate.sigmoid() * value.tanh()


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
        hidden: Width of a linear layer before the convolutions; 0 for none, as in DCGAN. InfoGAN
            has one (Chen et al., 2016, 1606.03657, appendix C).
        activation: Of the hidden layers; gated ones compute twice the channels.
        constant: All hidden layers have the width of the last.
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
        hidden: int = 0,
        activation: Activation = "relu",
        constant: bool = False,
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
                "hidden": hidden,
                "activation": activation,
                "constant": constant,
            },
        )
        side = first_side(resolution)
        here = width if constant else width * resolution // (2 * side)
        planes = 2 if activation == "gated" else 1
        asked = noise_dim + condition_dim
        self.before = _linear(asked, hidden, norm=norm, slope=0.0) if hidden else nn.Identity()
        self.start = nn.Linear(hidden or asked, planes * here * side * side)
        self.start_shape = (planes * here, side, side)
        batch_norm: Callable[[int], nn.Module] = nn.BatchNorm2d if norm else _same
        layers: list[nn.Module] = [batch_norm(planes * here), _unit(activation, 0.0)]
        while side < resolution:
            side *= 2
            if side == resolution:
                layers += [nn.ConvTranspose2d(here, channels, 4, 2, 1), nn.Tanh()]
                break
            outward = here if constant else here // 2
            # BatchNorm takes away what a bias adds.
            layers += [nn.ConvTranspose2d(here, planes * outward, 4, 2, 1, bias=not norm)]
            layers += [batch_norm(planes * outward), _unit(activation, 0.0)]
            here = outward
        self.body = nn.Sequential(*layers)
        init_dcgan(self)
        if constant:
            # DCGAN's deviation is made for hundreds of channels.
            nn.init.kaiming_normal_(self.start.weight)
            for module in self.body:
                if isinstance(module, nn.ConvTranspose2d):
                    # Of its 4 x 4 weights a stride of 2 lets four reach a pixel.
                    nn.init.normal_(module.weight, std=math.sqrt(2.0 / (4 * module.in_channels)))

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map embedding and noise to ``(n, channels, r, r)`` in [-1, 1]."""
        x = self.start(self.before(self.joined(embedding, noise))).unflatten(1, self.start_shape)
        drawn: Tensor = self.body(x)
        return drawn


class DcganCritic(Critic):
    """Strided convolutions, BatchNorm but at the input, leaky ReLU 0.2.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        joining: How the condition enters.
        outputs: Outputs of a second head; 0 has none.
        width: Channels of the first layer; they double at every halving of the side.
        norm: Normalise after each convolution but the first: ``True`` by BatchNorm, ``"layer"``
            each sample by itself.
        spectral: Normalise every weight spectrally.
        hidden: Width of a linear layer after the convolutions, which both heads read; 0 for none,
            as in DCGAN.
        head_hidden: Width of a linear layer of the second head alone; 0 for none.
        activation: Of all layers, ``relu`` with a slope of 0.2 below zero; gated ones compute twice
            the channels.
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
        norm: bool | Literal["layer"] = True,
        spectral: bool = False,
        hidden: int = 0,
        head_hidden: int = 0,
        activation: Activation = "relu",
    ) -> None:
        last = first_side(resolution)
        final = width * resolution // (2 * last)
        super().__init__(
            feature_dim=hidden or final * last * last,
            condition_dim=condition_dim,
            joining=joining,
            outputs=outputs,
        )
        layers: list[nn.Module] = []
        here, outward, side = channels + self.planes(condition_dim, joining), width, resolution
        planes = 2 if activation == "gated" else 1
        while side > last:
            normed = bool(norm) and side < resolution
            layers += [nn.Conv2d(here, planes * outward, 4, 2, 1, bias=not normed)]
            if normed:
                # One group over all channels: layer normalisation, the same for any side.
                all_ = planes * outward
                layers += [nn.GroupNorm(1, all_) if norm == "layer" else nn.BatchNorm2d(all_)]
            layers += [_unit(activation, 0.2)]
            here, outward, side = outward, 2 * outward, side // 2
        layers += [nn.Flatten()]
        if hidden:
            layers += [_linear(final * last * last, hidden, norm=norm is True, slope=0.2)]
        self.body = nn.Sequential(*layers)
        if outputs and head_hidden:
            before = _linear(
                hidden or final * last * last, head_hidden, norm=norm is True, slope=0.2
            )
            self.head = nn.Sequential(before, nn.Linear(head_hidden, outputs))
        init_dcgan(self)
        if spectral:
            normalize_spectrally(self)

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, channels, r, r)`` to ``(n, feature_dim)``."""
        features: Tensor = self.body(pictures)
        return features


def _linear(inputs: int, outputs: int, *, norm: bool, slope: float) -> nn.Module:
    normed = nn.BatchNorm1d(outputs) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(inputs, outputs), normed, _unit("relu", slope))


def _same(channels: int) -> nn.Module:
    return nn.Identity()


def _unit(activation: Activation, slope: float) -> nn.Module:
    if activation == "gated":
        return Gated()
    if activation == "tanh":
        return nn.Tanh()
    return nn.LeakyReLU(slope) if slope else nn.ReLU()
