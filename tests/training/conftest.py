"""A small captioned data set and a small recipe, real in every part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.pictures import PictureData
from training.recipe import Recipe
from training.registry import Spec
from training.stream import CaptionStream
from training.trainer import Settings, Trainer, accelerator_for
from training.zoo.t2i import t2i

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 210)}


def squares(count: int = 24, resolution: int = 16) -> PictureData:
    """Pictures of one colour each, on noise, with two captions that name it."""
    rng = np.random.default_rng(5)
    names = list(COLOURS)
    labels = np.arange(count) % len(names)
    pictures = rng.integers(0, 40, (count, resolution, resolution, 3)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[4:12, 4:12] = COLOURS[names[label]]
    captions = tuple((f"a {names[k]} square", f"{names[k]} on dark ground") for k in labels)
    return PictureData("squares", "f" * 64, pictures, captions, labels, tuple(names))


def embeddings_of(data: PictureData, dim: int = 6) -> np.ndarray:
    """One direction a colour, a little noise a caption."""
    rng = np.random.default_rng(9)
    assert data.labels is not None
    base = rng.normal(size=(3, dim))
    rows = base[data.labels[data.caption_owners]] + 0.05 * rng.normal(
        size=(len(data.flat_captions), dim)
    )
    return rows.astype(np.float32)


def small_recipe(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    arguments: dict[str, object] = {
        "stages": (8, 16),
        "stage_start": (0.0, 0.0),
        "width": 8,
        "discriminator_width": 8,
        "max_channels": 16,
        "noise_dim": 5,
        "conditioning_dim": 4,
        "batch_size": 8,
        **knobs,
    }
    return t2i(Spec(resolution=16, condition_dim=6), **arguments)


def small_trainer(
    out: Path, *, precision: str = "no", spent_before: float = 0.0, **changes: object
) -> Trainer:
    data = squares()
    embeddings = embeddings_of(data)
    knobs = changes.pop("knobs", {})
    recipe = small_recipe(**knobs)  # type: ignore[arg-type]
    assert recipe.fit is not None
    recipe.fit(torch.from_numpy(embeddings))
    settings = Settings(
        out=out,
        **{"kimg": 0.08, "report_rounds": 2, "checkpoint_kimg": 0.032, **changes},  # type: ignore[arg-type]
    )
    accelerator = accelerator_for(precision, out)  # type: ignore[arg-type]
    stream = CaptionStream(data, embeddings)
    return Trainer(recipe, stream, settings, accelerator, spent_before=spent_before)


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    # Accelerate keeps its precision for the whole process.
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
