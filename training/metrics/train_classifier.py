"""Trains the attribute classifier on drawn pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.metrics.attributes import AttributeClassifier, AttributeNetwork, as_input
from training.metrics.errors import MetricsError
from training.metrics.features import Progress
from training.metrics.learning import Average, Learning


@dataclass(frozen=True, slots=True)
class ClassifierTraining:
    """The knobs of `train_classifier`; the defaults made the classifier that ships.

    Attributes:
        kimg: thousands of pictures shown.
        batch: pictures in a step.
        learning_rate: the peak of a one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        widths: channels of the trunk at 32, 16 and 8 pixels.
        seed: of the initial weights, the order of the pictures and their degradation.
    """

    kimg: float = 64.0
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    widths: tuple[int, int, int] = (32, 80, 128)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kimg <= 0 or self.batch < 2 or self.kimg * 1000 < self.batch:
            raise MetricsError("kimg", self.kimg, "is less than one batch", "train for longer")

    @property
    def steps(self) -> int:
        """Batches shown."""
        return math.ceil(self.kimg * 1000 / self.batch)


def degrade(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Give drawn pictures (n, 3, h, w) in [-1, 1] the flaws that generated ones have.

    Shifts of up to 3 pixels, mirroring, soft edges, noise, and coarse quantisation of blocks as
    JPEG leaves. Hue and brightness stay as they are: colours are what the judge is asked about.
    """
    x = _shifted(pictures, 3, generator)
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    blur = torch.rand(len(x), 1, 1, 1, generator=generator) * 1.2 - 0.4
    x = torch.lerp(x, _softened(x), blur.clamp(0, 0.8))
    x = _block_quantised(x, generator)
    sigma = (torch.rand(len(x), 1, 1, 1, generator=generator) * 0.12 - 0.04).clamp(min=0)
    x = x + sigma * torch.randn(x.shape, generator=generator)
    return x.clamp(-1, 1).contiguous(memory_format=torch.channels_last)


def _shifted(x: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = x.shape
    padded = functional.pad(x, (reach,) * 4, mode="reflect")
    offsets = torch.randint(0, 2 * reach + 1, (2, count), generator=generator)
    rows = offsets[0][:, None] + torch.arange(height)
    columns = offsets[1][:, None] + torch.arange(width)
    index = torch.arange(count)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def _softened(x: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    square = (kernel[:, None] * kernel).expand(x.shape[1], 1, 5, 5)
    return functional.conv2d(functional.pad(x, (2,) * 4, mode="reflect"), square, groups=x.shape[1])


def _block_quantised(x: Tensor, generator: torch.Generator) -> Tensor:
    """Round the cosine coefficients of 8x8 blocks of a third of the pictures, coarser up high."""
    count, channels, height, width = x.shape
    if height % 8 or width % 8:
        return x
    basis = _cosines().to(x.dtype)
    blocks = x.reshape(count, channels, height // 8, 8, width // 8, 8)
    spectrum = torch.einsum("ui,vj,nchiwj->nchwuv", basis, basis, blocks)
    frequency = torch.arange(8.0)
    coarse = (0.02 + 0.04 * torch.rand(count, generator=generator)).view(-1, 1, 1, 1, 1, 1)
    step = coarse * (1 + frequency[:, None] + frequency)
    step[..., 0, 0] = 0.01
    rounded = torch.einsum("ui,vj,nchwuv->nchiwj", basis, basis, (spectrum / step).round() * step)
    chosen = torch.rand(count, generator=generator) < 0.33
    return torch.where(chosen[:, None, None, None], rounded.reshape(x.shape), x)


def _cosines() -> Tensor:
    """The orthonormal 8-point DCT-II as an (8, 8) matrix, one frequency a row."""
    place, frequency = torch.arange(8.0) + 0.5, torch.arange(8.0)[:, None]
    basis = torch.cos(math.pi / 8 * place * frequency) / 2
    basis[0] /= math.sqrt(2)
    return basis


def train_classifier(
    pictures: NDArray[np.uint8],
    values: NDArray[np.int8],
    attributes: Mapping[str, tuple[str, ...]],
    drawn_by: str,
    training: ClassifierTraining | None = None,
    progress: Progress | None = None,
) -> AttributeClassifier:
    """Train a classifier and return it, its weights averaged over the last steps.

    Args:
        pictures: (n, h, w, 3) uint8, of all combinations that are to be judged.
        values: (n, n_attributes) value indices, all known.
        attributes: name -> values, in the order of the columns of `values`.
        drawn_by: version of the drawings; the classifier refuses to judge others.
        training: the knobs.
        progress: called with the number of pictures shown since the last call.

    Raises:
        MetricsError: shapes do not fit, a value is unknown, or the loss stops being a number.
    """
    knobs = training or ClassifierTraining()
    if values.shape != (len(pictures), len(attributes)) or (values < 0).any():
        raise MetricsError(
            "values", values.shape, "does not tell every attribute of every picture", "know all"
        )
    generator = torch.Generator().manual_seed(knobs.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(knobs.seed)
        counts = tuple(len(names) for names in attributes.values())
        network = AttributeNetwork(counts, knobs.widths)
    network.train().to(memory_format=torch.channels_last)
    average = Average(network, knobs.steps)
    learning = Learning(network, knobs)
    for _ in range(knobs.steps):
        rows = torch.randint(len(pictures), (knobs.batch,), generator=generator).numpy()
        x = degrade(as_input(torch.from_numpy(np.array(pictures[rows]))), generator)
        truth = torch.from_numpy(values[rows].astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        losses = [
            functional.cross_entropy(each.float(), truth[:, index])
            for index, each in enumerate(logits)
        ]
        loss = torch.stack(losses).mean()
        learning.step(loss)
        average.follow(network)
        if progress is not None:
            progress(knobs.batch)
    card = {**asdict(knobs), "widths": list(knobs.widths), "pictures": len(pictures)}
    return AttributeClassifier(average.network, attributes, drawn_by, knobs.widths, card)
