"""What single units of a generator do: which concept each goes with, and what they cause.

GAN Dissection: Bau et al., 2019, arXiv:1811.10597. A unit is a channel of one layer. Dissection
(section 3.1) compares where a unit is active with where a segmentation sees a concept. Intervention
(section 3.2) switches units off, or on at chosen places, and looks at what becomes of the picture.

All functions take any generator of `t2i.networks`, the layer as a module of it, and a segmenter:
from pictures ``(n, c, r, r)`` in [-1, 1] to booleans ``(n, concepts, r, r)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import PictureGenerator
from training.errors import TrainingError

Segmenter = Callable[[Tensor], Tensor]
Edit = Callable[[Tensor], Tensor]

# Shares of all places at which a unit may count as active.
_ACTIVE = (0.5, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)


@dataclass(frozen=True)
class Dissection:
    """How well each unit goes with each concept.

    Attributes:
        iou: ``(units, concepts)`` from 0 to 1, on pictures that the thresholds were not chosen on.
        thresholds: ``(units, concepts)`` above which a unit counts as active.
        concepts: Names of the concepts.
    """

    iou: Tensor
    thresholds: Tensor
    concepts: tuple[str, ...]

    def best_units(self, concept: str, count: int) -> list[int]:
        """Return the units of highest IoU with a concept, best first."""
        column = self.iou[:, self.concepts.index(concept)]
        return [int(unit) for unit in column.argsort(descending=True)[:count]]

    def labels(self, least: float = 0.05) -> dict[int, str]:
        """Return each unit's best concept, of units that reach the least IoU (section 3.1)."""
        best, place = self.iou.max(dim=1)
        return {
            unit: self.concepts[int(place[unit])]
            for unit in range(len(best))
            if float(best[unit]) > least
        }


@torch.inference_mode()
def draw_with(
    generator: PictureGenerator,
    layer: nn.Module,
    noise: Tensor,
    *,
    edit: Edit | None = None,
    embedding: Tensor | None = None,
    batch: int = 64,
) -> tuple[Tensor, Tensor]:
    """Draw pictures and keep what a layer gave on the way, edited where that is asked for.

    Args:
        generator: In evaluation mode.
        layer: A module of it that gives ``(n, units, h, w)``.
        noise: ``(n, noise_dim)``.
        edit: From the layer's features to what goes on instead.
        embedding: ``(n, condition_dim)``; zeros where it is not given.
        batch: How many at once.

    Returns:
        Pictures ``(n, c, r, r)`` and the layer's features ``(n, units, h, w)`` after the edit.

    Raises:
        TrainingError: The layer is no part of the generator, or gives no maps.
    """
    if not any(module is layer for module in generator.modules()):
        raise TrainingError("layer: is no module of this generator; take one of its own")
    asked = torch.zeros(len(noise), generator.condition_dim) if embedding is None else embedding
    kept: list[Tensor] = []
    pictures: list[Tensor] = []
    with _hooked(layer, kept, edit):
        for e, z in zip(asked.split(batch), noise.split(batch), strict=True):  # type: ignore[no-untyped-call]
            pictures.append(generator(e, z).pictures[-1].float())
    maps = torch.cat(kept)
    if maps.dim() != 4 or len(maps) != len(noise):
        raise TrainingError(
            f"layer: gave features of shape {tuple(maps.shape)} for {len(noise)} pictures; take a "
            "layer that runs once and gives (n, units, h, w)"
        )
    return torch.cat(pictures), maps


@contextmanager
def _hooked(layer: nn.Module, kept: list[Tensor], edit: Edit | None) -> Iterator[None]:
    def hook(module: nn.Module, given: object, features: Tensor) -> Tensor:
        changed = features if edit is None else edit(features)
        kept.append(changed.float().clone())
        return changed

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def dissect(maps: Tensor, segments: Tensor, concepts: Sequence[str]) -> Dissection:
    """Compare where units are active with where concepts are seen.

    Maps are enlarged to the pictures' side and thresholded. The threshold of a unit and a concept
    is the one of the highest information quality ratio I / H on the first half of the pictures;
    the IoU is that of the second half (section 3.1).

    Args:
        maps: ``(n, units, h, w)`` features.
        segments: ``(n, concepts, r, r)`` booleans.
        concepts: Their names.

    Raises:
        TrainingError: There are fewer than two pictures, or the numbers do not match.
    """
    n, count = len(maps), segments.shape[1]
    if n < 2 or n != len(segments) or count != len(concepts):
        raise TrainingError(
            f"segments: {tuple(segments.shape)} do not fit {n} pictures and {len(concepts)} "
            "concepts; give a row a picture, two or more, and a plane a concept"
        )
    half = n // 2
    flat = segments.transpose(0, 1).flatten(2).float()
    chosen, measured = flat[:, :half].flatten(1), flat[:, half:].flatten(1)
    iou = torch.zeros(maps.shape[1], count)
    thresholds = torch.zeros(maps.shape[1], count)
    for unit in range(maps.shape[1]):
        map_ = F.interpolate(
            maps[:, unit : unit + 1], size=segments.shape[-2:], mode="bilinear", align_corners=False
        ).flatten(1)
        here, there = map_[:half].flatten(), map_[half:].flatten()
        # By sorting: torch.quantile takes no more than 16 million numbers.
        ranked = here.sort(descending=True).values
        levels = ranked[[min(len(ranked) - 1, int(share * len(ranked))) for share in _ACTIVE]]
        active = (here > levels[:, None]).float()
        level = levels[information_quality(active, chosen).argmax(dim=0)]
        thresholds[unit] = level
        on = (there > level[:, None]).float()
        both = (on * measured).sum(dim=1)
        either = on.sum(dim=1) + measured.sum(dim=1) - both
        iou[unit] = both / either.clamp(min=1.0)
    return Dissection(iou, thresholds, tuple(concepts))


def information_quality(first: Tensor, second: Tensor) -> Tensor:
    """Return I(a; b) / H(a, b) of each two rows of zeros and ones, ``(k, p)`` and ``(c, p)``.

    Wijaya et al., 2017, as the paper takes it: 1 where one tells the other, 0 where neither tells
    anything of the other.

    Returns:
        ``(k, c)``.
    """
    places = first.shape[1]
    both = first @ second.t() / places
    a, b = first.mean(dim=1)[:, None], second.mean(dim=1)[None]
    joint = torch.stack([both, a - both, b - both, 1 - a - b + both]).clamp(min=0.0)
    entropy = -torch.xlogy(joint, joint).sum(dim=0)
    alone = _entropy(a) + _entropy(b)
    return torch.where(entropy > 1e-12, (alone - entropy) / entropy.clamp(min=1e-12), 0.0)


def _entropy(share: Tensor) -> Tensor:
    return -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share))


def ablated(units: Sequence[int]) -> Edit:
    """Return the edit that switches units off at all places (section 3.2)."""

    def edit(features: Tensor) -> Tensor:
        changed = features.clone()
        changed[:, list(units)] = 0.0
        return changed

    return edit


def inserted(units: Sequence[int], values: Tensor, places: Tensor) -> Edit:
    """Return the edit that sets units to constants at some places (section 3.2).

    Args:
        units: Which.
        values: ``(len(units),)``, the k of each.
        places: ``(h, w)`` booleans.
    """

    def edit(features: Tensor) -> Tensor:
        changed = features.clone()
        for unit, value in zip(units, values, strict=True):
            changed[:, unit] = torch.where(places, value.to(features.dtype), changed[:, unit])
        return changed

    return edit


def typical_values(maps: Tensor, units: Sequence[int], share: float = 0.01) -> Tensor:
    """Return what units give where they are most active: the mean of their highest share."""
    flat = maps[:, list(units)].transpose(0, 1).flatten(1)
    return flat.topk(max(1, int(share * flat.shape[1])), dim=1).values.mean(dim=1)


@dataclass(frozen=True)
class Effect:
    """What intervening on units does to the share of pixels of each concept.

    Attributes:
        before: ``(concepts,)`` share of pixels without intervention.
        off: The same with the units switched off everywhere.
        on: The same with the units switched on at the places.
    """

    before: Tensor
    off: Tensor
    on: Tensor

    @property
    def average_causal(self) -> Tensor:
        """``(concepts,)``: switched on minus switched off, the paper's δ."""
        return self.on - self.off

    @property
    def removed(self) -> Tensor:
        """``(concepts,)``: the share of a concept's pixels that switching off takes away."""
        return 1.0 - self.off / self.before.clamp(min=1e-9)


def effect(
    generator: PictureGenerator,
    layer: nn.Module,
    noise: Tensor,
    segmenter: Segmenter,
    units: Sequence[int],
    *,
    values: Tensor,
    places: Tensor,
    embedding: Tensor | None = None,
) -> Effect:
    """Draw the same pictures as they are, with units off, and with units on at some places.

    Args:
        generator: In evaluation mode.
        layer: A module of it that gives ``(n, units, h, w)``.
        noise: ``(n, noise_dim)``.
        segmenter: Tells where concepts are.
        units: Which.
        values: ``(len(units),)`` of the insertion, such as `typical_values`.
        places: ``(h, w)`` booleans of the insertion.
        embedding: ``(n, condition_dim)``; zeros where it is not given.
    """

    def seen(edit: Edit | None) -> Tensor:
        pictures, _ = draw_with(generator, layer, noise, edit=edit, embedding=embedding)
        return segmenter(pictures).float().mean(dim=(0, 2, 3))

    return Effect(seen(None), seen(ablated(units)), seen(inserted(units, values, places)))
