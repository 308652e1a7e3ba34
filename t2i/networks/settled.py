"""Running a network that has learned, within one that learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def settled(network: nn.Module) -> Iterator[None]:
    """Run a network as it would be served: BatchNorm by what it has gathered, and no dropout."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
