"""What the claims on labelled pictures share: a classifier of real ones, and pictures in bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.claims.claim import Trained, Trial
from training.data.pictures import PictureData
from training.metrics.features import as_bytes
from training.metrics.latent import write_rows
from training.metrics.picture_classifier import FitSettings, PictureClassifier, fit

# Of a judge that is only gone through.
_QUICK = FitSettings(kimg=0.02, batch=2, width=4, blocks=2)


def judge_of(
    trial: Trial, data: PictureData, test: PictureData, *, mirror: bool = False
) -> PictureClassifier:
    """Train a classifier of real pictures for this seed, or take the one that lies in its folder.

    Args:
        trial: The seed.
        data: What it learns from.
        test: What it is measured on.
        mirror: Mirror pictures at random: right for things, wrong for digits.
    """
    folder = trial.out / f"judge-{data.name.replace(' ', '-')}"
    if (folder / "config.json").is_file():
        return PictureClassifier.load(folder)
    assert data.labels is not None and test.labels is not None
    settings = _QUICK if trial.quick else FitSettings(seed=trial.seed, mirror=mirror)
    total = settings.steps * settings.batch
    with trial.progress("a judge of real pictures", total) as advance:
        judge = fit(
            data.pictures,
            data.labels,
            test.pictures,
            test.labels,
            title=data.name,
            label_names=data.label_names,
            settings=settings,
            progress=advance,
        )
    judge.save(folder)
    return judge


def drawn_by_label(
    trained: Trained, classes: int, count: int, *, seed: int = 0
) -> tuple[NDArray[np.uint8], Tensor]:
    """Draw as many pictures of each class.

    Args:
        trained: Of a generator whose condition is the one-hot label.
        classes: Number of classes.
        count: Pictures in all; each class in turn.
        seed: Seed of the noise.

    Returns:
        ``(count, h, w, c)`` uint8 pictures and ``(count,)`` int64 labels that were asked.
    """
    asked = torch.arange(count) % classes
    drawn = trained.draw(count, seed=seed, embedding=torch.eye(classes)[asked], batch=100)
    return as_bytes(drawn), asked


def sheet_by_label(
    trial: Trial, pictures: NDArray[np.uint8], asked: Tensor, *, columns: int = 10
) -> dict[str, Path]:
    """Write a sheet of one row a class; return it by name, as `Measured.pictures` wants it."""
    rows = [
        [pictures[place] for place in torch.nonzero(asked == label).flatten()[:columns].tolist()]
        for label in torch.unique(asked).tolist()
    ]
    return {"by_label": write_rows(trial.out / "by_label.png", rows, cell=48)}
