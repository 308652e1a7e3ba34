"""A classifier of real pictures that judges drawn ones, and pictures drawn for it by label."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.claims.claim import Trained, Trial
from training.claims.pictures import Pictures, labels_of
from training.data.pictures import PictureData
from training.metrics.features import as_bytes
from training.metrics.picture_classifier import FitSettings, PictureClassifier, fit

# Of a judge that is only gone through.
_QUICK = FitSettings(kimg=0.02, batch=2, width=4, blocks=2)


def judge_of(
    trial: Trial, data: PictureData, test: PictureData, *, kimg: float = 60.0
) -> PictureClassifier:
    """Train a classifier of real pictures for this seed, or take the one that lies in its folder.

    Args:
        trial: The seed.
        data: What it learns from.
        test: What it is measured on.
        kimg: Its training, in thousands of pictures shown.
    """
    folder = trial.out / f"judge-{data.name.replace(' ', '-')}"
    if (folder / "config.json").is_file():
        return PictureClassifier.load(folder)
    settings = _QUICK if trial.quick else FitSettings(kimg=kimg, seed=trial.seed)
    total = settings.steps * settings.batch
    with trial.progress("a judge of real pictures", total) as advance:
        judge = fit(
            data.pictures,
            labels_of(data),
            test.pictures,
            labels_of(test),
            title=data.name,
            label_names=data.label_names,
            settings=settings,
            progress=advance,
        )
    judge.save(folder)
    return judge


def drawn_as(
    trained: Trained, asked: Tensor, classes: int, *, seed: int = 1, batch: int = 1000
) -> Pictures:
    """Draw a picture of each class that is asked for.

    Args:
        trained: Of a generator whose condition is the one-hot label.
        asked: ``(n,)`` int64 classes.
        classes: Number of classes.
        seed: Seed of the noise.
        batch: How many at once.

    Returns:
        ``(n, r, r, c)`` uint8.
    """
    embedding = torch.eye(classes)[asked]
    return as_bytes(trained.draw(len(asked), seed=seed, embedding=embedding, batch=batch))


def drawn_by_class(
    trained: Trained, classes: int, each: int, *, seed: int = 1
) -> tuple[Pictures, NDArray[np.int64]]:
    """Draw so many pictures of each class: ``(n, r, r, c)`` uint8, and what was asked."""
    asked = torch.arange(classes).repeat_interleave(each)
    return drawn_as(trained, asked, classes, seed=seed), asked.numpy()


def accuracy_percent(
    judge: PictureClassifier, pictures: Pictures, asked: NDArray[np.int64]
) -> float:
    """Return how often a judge sees the class that was asked for."""
    return 100.0 * float((judge.all_logits(pictures).argmax(dim=1).numpy() == asked).mean())
