"""Virtual batch normalisation: statistics of a fixed batch, and of the sample itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from t2i.networks.base import PictureGenerator


class VirtualBatchNorm(nn.Module):
    """Normalise by a reference batch and the sample itself. Salimans et al., 1606.03498, 3.5.

    The first ``reference`` rows of the input are the reference batch. Each further row is
    normalised by mean and variance over them and itself, as one row more; so it does not depend on
    any other row.

    Args:
        channels: Channels of the input.
        reference: Rows of the reference batch.
        epsilon: Added to the variance.
    """

    def __init__(self, channels: int, reference: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.reference, self.epsilon = reference, epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(reference + n, channels, ...)`` to the same shape."""
        wide = x.float()
        places = tuple(range(2, x.dim()))
        mean = wide.mean(dim=places, keepdim=True) if places else wide
        square = wide.square().mean(dim=places, keepdim=True) if places else wide.square()
        mean, square = self._with_reference(mean), self._with_reference(square)
        variance = (square - mean.square()).clamp_min(0.0)
        shape = (1, -1, *(1,) * len(places))
        normal = (wide - mean) * (variance + self.epsilon).rsqrt()
        return (normal * self.weight.reshape(shape) + self.bias.reshape(shape)).to(x.dtype)

    def _with_reference(self, x: Tensor) -> Tensor:
        """Take the reference rows' mean, and for each further row the mean with it."""
        known, own = x[: self.reference], x[self.reference :]
        mean = known.mean(dim=0, keepdim=True)
        return torch.cat([mean.expand_as(known), mean.lerp(own, 1.0 / (self.reference + 1.0))])


class VirtualNormGenerator(PictureGenerator):
    """Any generator with `VirtualBatchNorm` where it had BatchNorm, and its reference batch.

    Args:
        network: Class of the generator, a name of `t2i.networks.NETWORKS`.
        arguments: What it is built with.
        reference: Rows of the reference batch, drawn once and kept with the weights. With a
            condition they go through its entries in turn.
    """

    def __init__(
        self, *, network: str, arguments: Mapping[str, object], reference: int = 64
    ) -> None:
        from t2i.networks import build

        inner = cast(PictureGenerator, build(network, arguments))
        super().__init__(
            condition_dim=inner.condition_dim,
            noise_dim=inner.noise_dim,
            resolutions=inner.resolutions,
            config={"network": network, "arguments": dict(arguments), "reference": reference},
        )
        _replace(inner, reference)
        self.inner = inner
        self.register_buffer("reference_noise", torch.randn(reference, inner.noise_dim))
        entries = torch.arange(reference) % max(inner.condition_dim, 1)
        asked = torch.eye(max(inner.condition_dim, 1))[entries][:, : inner.condition_dim]
        self.register_buffer("reference_embedding", asked)

    @classmethod
    def like(cls, generator: PictureGenerator, reference: int = 64) -> VirtualNormGenerator:
        """Return a new generator like a given one, but for the normalisation."""
        name = type(generator).__name__
        return cls(network=name, arguments=generator.config, reference=reference)

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map embedding and noise to samples, of which each is a function of its own row alone."""
        known = self.get_buffer("reference_noise")
        asked = self.get_buffer("reference_embedding")
        whole = self.inner.draw(
            torch.cat([asked.to(embedding.dtype), embedding]),
            torch.cat([known.to(noise.dtype), noise]),
        )
        return whole[len(known) :]


def _replace(network: nn.Module, reference: int) -> None:
    for name, module in network.named_children():
        if isinstance(module, _BatchNorm):
            setattr(network, name, VirtualBatchNorm(module.num_features, reference, module.eps))
        else:
            _replace(module, reference)
