"""Small real data of each kind, and small knobs for each paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.training.conftest import squares
from training.data.pictures import PictureData
from training.recipe import Recipe
from training.registry import Entry, Spec
from training.stream import SampleStream
from training.trainer import Settings, Trainer, accelerator_for

# Knobs that make a network small; each is given to the papers that have it.
SMALL: dict[str, object] = {
    "width": 4,
    "generator_width": 4,
    "noise_dim": 5,
    "batch_size": 8,
    "n_dis": 2,
}


@dataclass(frozen=True)
class Points:
    """Samples that are no pictures."""

    name: str
    fingerprint: str
    samples: np.ndarray
    labels: np.ndarray | None
    label_names: tuple[str, ...]


def ring(count: int = 64) -> Points:
    """Points on a ring of four blobs, labelled by blob."""
    rng = np.random.default_rng(2)
    labels = np.arange(count) % 4
    angles = labels * np.pi / 2
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    samples = (centres + 0.05 * rng.normal(size=(count, 2))).astype(np.float32)
    return Points("ring", "a" * 64, samples, labels, ("east", "north", "west", "south"))


def spec_of_pictures(data: PictureData, **changes: object) -> Spec:
    fields: dict[str, object] = {
        "resolution": data.resolution,
        "label_names": data.label_names,
        "labelled": 0 if data.labels is None else int((data.labels >= 0).sum()),
        "size": len(data),
        **changes,
    }
    return Spec(**fields)  # type: ignore[arg-type]


def spec_of_points(data: Points) -> Spec:
    return Spec(
        resolution=0,
        channels=0,
        sample_shape=data.samples.shape[1:],
        kind="points",
        label_names=data.label_names,
        labelled=0 if data.labels is None else int((data.labels >= 0).sum()),
        size=len(data.samples),
    )


def small_knobs(entry: Entry, **changes: object) -> dict[str, object]:
    names = {knob.name for knob in entry.knobs}
    return {**{name: value for name, value in SMALL.items() if name in names}, **changes}


def build(entry: Entry, data: PictureData | Points, **changes: object) -> Recipe:
    torch.manual_seed(0)
    spec = spec_of_points(data) if isinstance(data, Points) else spec_of_pictures(data)
    return entry.build(spec, **small_knobs(entry, **changes))


def trainer_of(
    recipe: Recipe,
    data: PictureData | Points,
    out: Path,
    *,
    precision: str = "no",
    **changes: object,
) -> Trainer:
    settings = Settings(
        out=out,
        **{"kimg": 0.064, "report_rounds": 2, "checkpoint_kimg": 1.0, **changes},  # type: ignore[arg-type]
    )
    accelerator = accelerator_for(precision, out)  # type: ignore[arg-type]
    return Trainer(recipe, SampleStream(data, seed=settings.seed), settings, accelerator)


__all__ = ["Points", "build", "ring", "small_knobs", "squares", "trainer_of"]
