"""What the claims on pictures share: distances to held-out pictures, sheets, costs, seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from t2i.networks.base import PictureGenerator
from t2i.sheets import contact_sheet
from training.claims.claim import Trained, Trial
from training.claims.trial import draw
from training.data.pictures import PictureData
from training.metrics.features import FeatureNetwork, as_bytes, extract, load_features
from training.metrics.fidelity import kid
from training.metrics.manifold import Manifold, manifold


@dataclass(frozen=True)
class Fidelity:
    """Compares generated pictures with held-out real ones by EfficientNet-lite0's features.

    Attributes:
        network: Makes features.
        real: ``(n, d)`` of held-out pictures.
        floor: 1000 times the KID of training pictures, the least that can be hoped for.
        count: How many pictures are compared.
        subset_size: Pictures in a subset of the KID.
    """

    network: FeatureNetwork
    real: Tensor
    floor: float
    count: int
    subset_size: int

    def features(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Return features ``(n, d)`` of ``(n, r, r, c)`` uint8 pictures."""
        return extract(self.network, pictures)

    def kid(self, pictures: NDArray[np.uint8]) -> float:
        """Return 1000 times the KID of ``(n, r, r, c)`` uint8 pictures."""
        return _kid(self.real, self.features(pictures), self.subset_size)

    def kid_of(self, generator: nn.Module) -> float:
        """Return 1000 times the KID of what a generator draws, labels as even as it goes."""
        return self.kid(as_bytes(drawn_evenly(generator, self.count)))

    def manifold(self, pictures: NDArray[np.uint8]) -> Manifold:
        """Return precision and recall of ``(n, r, r, c)`` uint8 pictures."""
        return manifold(self.real, self.features(pictures), neighbours=3)


def fidelity_of(
    trial: Trial, data: PictureData, held_out: PictureData, count: int = 2000
) -> Fidelity:
    """Compare with held-out pictures from now on.

    Args:
        trial: The seed.
        data: What was trained on, for the floor.
        held_out: What was not.
        count: How many pictures are compared.
    """
    count = 12 if trial.quick else min(count, len(data), len(held_out))
    size = min(500, count // 2)
    network = load_features("lite0", 32 if trial.quick else None)
    real = extract(network, held_out.pictures[:count])
    floor = _kid(real, extract(network, data.pictures[:count]), size)
    return Fidelity(network, real, floor, count, size)


def _kid(real: Tensor, other: Tensor, subset_size: int) -> float:
    return 1000.0 * kid(real, other, subsets=20, subset_size=subset_size).value


def drawn_evenly(generator: nn.Module, count: int, *, seed: int = 1) -> Tensor:
    """Draw ``(count, c, r, r)`` pictures in [-1, 1], each label as often as the next."""
    assert isinstance(generator, PictureGenerator)
    asked = None
    if generator.condition_dim:
        asked = torch.eye(generator.condition_dim)[torch.arange(count) % generator.condition_dim]
    return draw(generator, count, seed=seed, embedding=asked, batch=100)


def save_sheet(rows: Sequence[Tensor], path: Path, scale: int = 2) -> Path:
    """Write pictures in rows, each row ``(n, c, r, r)`` in [-1, 1], enlarged, as PNG."""
    images = []
    for row in rows:
        levels = as_bytes(row.expand(-1, 3, -1, -1)).repeat(scale, 1).repeat(scale, 2)
        images.append([Image.fromarray(each) for each in levels])
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(images).save(path)
    return path


def seconds_at(trained: Trained, kimg: float) -> float:
    """Return the seconds of training until so many kimg, measuring and drawing left out."""
    total, before = 0.0, 0.0
    for row in trained.log:
        here = min(row["kimg"], kimg)
        total += max(0.0, here - before) * 1000.0 / row["speed"]
        before = row["kimg"]
    return total


def operations(networks: Mapping[str, nn.Module]) -> float:
    """Return the floating point operations of drawing one picture and of judging it.

    Args:
        networks: With ``generator`` and ``discriminator``; a critic a level judges its own.
    """
    generator, critic = networks["generator"], networks["discriminator"]
    assert isinstance(generator, PictureGenerator)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        embedding = torch.zeros(1, generator.condition_dim)
        stages = generator(embedding, torch.randn(1, generator.noise_dim)).pictures
        if len(stages) == 1:
            critic(stages[0])
        else:
            for level, stage in enumerate(stages):
                critic(level, stage)
    return float(counter.get_total_flops())
