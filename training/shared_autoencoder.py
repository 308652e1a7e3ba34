"""The autoencoder that DCGAN's two players make: D encodes, G decodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn

from t2i.networks import DcganGenerator
from t2i.networks.base import Scores
from training.recipe import Networks


def reconstructed(networks: Networks, pictures: Tensor) -> Tensor:
    """Return ``Dec(Enc(x))`` of ``(n, c, r, r)``: D's features through G's convolutions.

    Tan et al., 2017, 1702.03410. What BatchNorm gathers in G stays as it is.
    """
    features = cast(Scores, networks["discriminator"](pictures)).features
    decoder = cast(DcganGenerator, networks["generator"])
    with _statistics_kept(decoder):
        return cast(Tensor, decoder.body(features.reshape(-1, *decoder.start_shape))).float()


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
