"""Frozen networks that turn pictures into the features that distances are measured in.

A distance is only comparable with another one of the same feature network, resize and sample
count, so a network carries the name under which its scores are printed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.lite import load_lite
from training.metrics.errors import MetricsError

Progress = Callable[[int], None]
"""Called with the number of pictures (or steps) done since the last call."""

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
            InvalidInput: the size cannot be used; the packages that carry the weights are missing,
                or the weights are not the published ones.
        """
        super().__init__()
        if not 32 <= resize <= 512 or resize % 32:
            raise MetricsError(
                "resize", resize, "is not a multiple of 32 from 32 to 512", "use 128"
            )
        self.resize = resize
        self.network = load_lite(0, resize, "features")

    def _prepared(self, pictures: Tensor) -> Tensor:
        return (brought_to(pictures, self.resize) - 127.0) / 128.0

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


class Inception(nn.Module):
    """Inception v3 of torchvision up to its pooled 2,048 features, with weights from a file.

    Szegedy et al., 2016, arXiv:1512.00567. Its ImageNet weights are torchvision's, not those of the
    graph with which published FIDs are made, and the resize differs: figures are near, not equal.
    The first digits of the file's SHA-256 are part of the name.
    """

    num_features = 2048

    def __init__(self, resize: int = 299, weights: Path | None = None) -> None:
        """Load weights from a file; nothing is downloaded.

        Args:
            resize: side in pixels to which pictures are brought (bilinear, antialiased).
            weights: torchvision's state dictionary as .pth or .safetensors.

        Raises:
            MetricsError: there is no such file, or it holds other weights.
        """
        super().__init__()
        if not 75 <= resize <= 512:
            raise MetricsError("resize", resize, "is not from 75 to 512", "use 299")
        if weights is None or not weights.is_file():
            raise MetricsError(
                "weights",
                str(weights),
                f"{weights} is no file with the weights of torchvision's Inception v3",
                "save torchvision.models.inception_v3(weights='IMAGENET1K_V1').state_dict() where "
                "there is a network and name the file",
            )
        from torchvision.models import inception_v3

        content = weights.read_bytes()
        self.resize = resize
        self.name = f"Inception-v3 (torchvision, {hashlib.sha256(content).hexdigest()[:8]})"
        network = inception_v3(
            weights=None, init_weights=False, aux_logits=False, transform_input=False
        )
        try:
            state = _read_state(weights, content)
            # The auxiliary head serves training alone.
            network.load_state_dict(
                {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}
            )
        except Exception as error:
            # Unpickling damaged files raises nearly anything.
            raise MetricsError(
                "weights",
                str(weights),
                f"{weights} holds other weights ({type(error).__name__})",
                "save those of torchvision's Inception v3 again",
            ) from error
        self.head = network.fc
        network.fc = nn.Identity()
        self.network = network
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def _prepared(self, pictures: Tensor) -> Tensor:
        return brought_to(pictures, self.resize) / 127.5 - 1

    @torch.inference_mode()
    def vectors(self, pictures: Tensor) -> Tensor:
        """Map pictures (n, h, w, 3) uint8 to pooled features (n, 2048) float32."""
        features: Tensor = self.network(self._prepared(pictures))
        return features

    @torch.inference_mode()
    def logits(self, pictures: Tensor) -> Tensor:
        """Map pictures (n, h, w, 3) uint8 to logits (n, 1000) of ImageNet's classes."""
        scores: Tensor = self.head(self.vectors(pictures))
        return scores

    @torch.inference_mode()
    def maps(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (n, h, w, 3) uint8 to the maps after each reduction of the side."""
        x = self._prepared(pictures)
        taken = []
        for name, layer in self.network.named_children():
            if name == "avgpool":
                break
            x = layer(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"):
                taken.append(x)
        return tuple(taken)


def _read_state(path: Path, content: bytes) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        return load(content)
    state: Mapping[str, Tensor] = torch.load(
        io.BytesIO(content), weights_only=True, map_location="cpu"
    )
    return state


def brought_to(pictures: Tensor, side: int) -> Tensor:
    """Bring pictures (n, h, w, 1 or 3) uint8 to (n, 3, side, side) float32 in [0, 255].

    Grey pictures are repeated; sides are scaled bilinearly with antialiasing.
    """
    x = pictures.permute(0, 3, 1, 2).float()
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    if x.shape[-2:] != (side, side):
        x = functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    return x.contiguous(memory_format=torch.channels_last)


def as_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """Bring a generator's pictures (n, c, h, w) in [-1, 1] to (n, h, w, c) uint8, rounded."""
    x = pictures.detach().float().cpu().add(1).mul(127.5).round().clamp(0, 255)
    return x.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


FEATURES = ("lite0", "inception", "classifier")


def load_features(
    name: str = "lite0", resize: int | None = None, weights: Path | None = None
) -> FeatureNetwork:
    """Return a feature network by name.

    Args:
        name: `lite0`, `inception` or `classifier`.
        resize: side to which pictures are brought; the network's usual one when not given.
        weights: file of Inception's weights, or folder of a classifier trained here.

    Raises:
        MetricsError: there is none of that name, or its weights cannot be had.
    """
    if name == "lite0":
        return Lite0(128 if resize is None else resize)
    if name == "inception":
        return Inception(299 if resize is None else resize, weights)
    if name == "classifier":
        from training.metrics.picture_classifier import PictureClassifier

        if weights is None:
            raise MetricsError(
                "weights", None, "names no folder of a classifier", "give what `save` wrote"
            )
        network = PictureClassifier.load(weights)
        if resize not in (None, network.resize):
            raise MetricsError(
                "resize", resize, f"is not the classifier's {network.resize}", "leave it out"
            )
        return network
    raise MetricsError("features", name, "is not a feature network", f"use one of {FEATURES}")


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
    """Return the features (n, num_features) float32 of pictures (n, h, w, 1 or 3) uint8."""
    rows = []
    for chunk in batches(pictures, batch):
        rows.append(network.vectors(chunk))
        if progress is not None:
            progress(len(chunk))
    return torch.cat(rows) if rows else torch.empty(0, network.num_features)
