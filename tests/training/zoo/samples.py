"""Small real data of each kind, and small knobs for each paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.training.conftest import squares
from training.data.parallel import parallel_text
from training.data.pictures import PictureData
from training.data.samples import SampleData
from training.errors import TrainingError
from training.prepare import spec_of
from training.recipe import Recipe
from training.registry import Entry
from training.stream import SampleStream
from training.trainer import Settings, Trainer, accelerator_for

# Knobs that make a network small; each is given to the papers that have it.
SMALL: dict[str, object] = {
    "width": 4,
    "generator_width": 4,
    "noise_dim": 5,
    "batch_size": 8,
    "n_dis": 2,
    "components": 2,
    "stage_kimg": 0.016,
    "pretrain_kimg": 0.0,
    "critic_kimg": 0.0,
    "rollouts": 2,
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


def small_knobs(entry: Entry, **changes: object) -> dict[str, object]:
    names = {knob.name for knob in entry.knobs}
    return {**{name: value for name, value in SMALL.items() if name in names}, **changes}


Sample = PictureData | Points | SampleData


def sample_for(entry: Entry) -> Sample:
    """The first kind of data that a paper takes: pictures, else points, else translations."""
    for data in (squares(), ring(), parallel_text(count=64)):
        try:
            build_recipe(entry, data)
        except TrainingError:
            continue
        return data
    raise AssertionError(
        f"{entry.key}: takes neither pictures nor points nor translations; add a sample of its kind"
    )


def build_recipe(entry: Entry, data: Sample, **changes: object) -> Recipe:
    torch.manual_seed(0)
    return entry.build(spec_of(data), **small_knobs(entry, **changes))


def trainer_of(
    recipe: Recipe, data: Sample, out: Path, *, precision: str = "no", **changes: object
) -> Trainer:
    settings = Settings(
        out=out,
        **{"kimg": 0.064, "report_rounds": 2, "checkpoint_kimg": 1.0, **changes},  # type: ignore[arg-type]
    )
    accelerator = accelerator_for(precision, out)  # type: ignore[arg-type]
    return Trainer(recipe, SampleStream(data, seed=settings.seed), settings, accelerator)
