"""Architectures that a paper claims to train all alike (WGAN-GP, 1704.00028, section 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from t2i.networks import (
    DcganCritic,
    DcganGenerator,
    DeepCritic,
    DeepGenerator,
    MlpGenerator,
    TextCritic,
    TextGenerator,
)
from t2i.networks.base import Critic, PictureGenerator
from training.errors import TrainingError
from training.networks import (
    fits,
    residual_critic,
    residual_generator,
    usual_critic,
    usual_generator,
)
from training.registry import Spec

Players = tuple[PictureGenerator, Critic]


def players_of(architecture: str, spec: Spec, *, noise_dim: int = 128, width: int = 64) -> Players:
    """Return a generator and a critic of pictures; no critic ties samples of a batch together.

    Args:
        architecture: One of `ARCHITECTURES`.
        spec: What the data is.
        noise_dim: Length of the noise.
        width: Channels of the outer layers.

    Raises:
        TrainingError: There is none of that name, or it cannot draw such pictures.
    """
    if spec.kind == "points":
        generator = usual_generator(spec, noise_dim=noise_dim, width=width)
        return generator, usual_critic(spec, width=width, norm=False)
    if spec.kind == "tokens":
        size = {"length": spec.sample_shape[0], "vocabulary": spec.vocabulary, "width": width}
        return TextGenerator(noise_dim=noise_dim, **size), TextCritic(**size)
    if architecture not in ARCHITECTURES:
        raise TrainingError(
            f"architecture: {architecture!r} is not known; give one of {', '.join(ARCHITECTURES)}"
        )
    with fits():
        return ARCHITECTURES[architecture](spec, noise_dim, width)


def _residual(spec: Spec, noise_dim: int, width: int) -> Players:
    generator = residual_generator(spec, noise_dim=noise_dim, width=width)
    return generator, residual_critic(spec, width=width, pooling="mean")


def _dcgan(
    generator: Mapping[str, Any] = MappingProxyType({}),
    critic: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[Spec, int, int], Players]:
    """DCGAN, BatchNorm in G and layer normalisation in D, with changed arguments of either."""

    def build(spec: Spec, noise_dim: int, width: int) -> Players:
        size = {"resolution": spec.resolution, "channels": spec.channels, "width": width}
        mine = DcganGenerator(noise_dim=noise_dim, **{**size, **generator})
        return mine, DcganCritic(**{"norm": "layer", **size, **critic})

    return build


def _mlp(spec: Spec, noise_dim: int, width: int) -> Players:
    shape = spec.sample_shape
    generator = MlpGenerator(sample_shape=shape, noise_dim=noise_dim, width=8 * width, depth=4)
    return generator, _dcgan()(spec, noise_dim, width)[1]


def _deep(spec: Spec, noise_dim: int, width: int) -> Players:
    size = {"resolution": spec.resolution, "channels": spec.channels, "width": width}
    return DeepGenerator(noise_dim=noise_dim, **size), DeepCritic(**size)


ARCHITECTURES: Mapping[str, Callable[[Spec, int, int], Players]] = {
    "residual": _residual,
    "dcgan": _dcgan(),
    "constant": _dcgan({"norm": False, "constant": True}),
    "mlp": _mlp,
    "bare": _dcgan({"norm": False}, {"norm": False}),
    "gated": _dcgan({"activation": "gated"}, {"activation": "gated"}),
    "tanh": _dcgan({"activation": "tanh"}, {"activation": "tanh"}),
    "deep": _deep,
}
