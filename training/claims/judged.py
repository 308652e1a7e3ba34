"""What claims on labelled pictures share: a judge, pictures by class, critics as classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Scores
from training.claims.trial import Trained, Trial
from training.data.pictures import PictureData
from training.metrics.latent import write_rows
from training.metrics.picture_classifier import FitSettings, PictureClassifier, fit

Pictures = NDArray[np.uint8]
SHOWN = 8


def judge_of(trial: Trial, train: PictureData, test: PictureData) -> PictureClassifier:
    """Return a classifier that learned from the training pictures, apart from any paper.

    It is fitted once a seed and kept in the seed's folder.
    """
    folder = trial.out / "judge"
    if (folder / "config.json").is_file():
        return PictureClassifier.load(folder)
    quick = FitSettings(kimg=0.064, batch=32, width=4, blocks=2)
    settings = quick if trial.quick else FitSettings(kimg=120.0, seed=trial.seed)
    with trial.progress("judge", round(settings.kimg * 1000)) as advance:
        judge = fit(
            train.pictures,
            labels_of(train),
            test.pictures,
            labels_of(test),
            title=train.name,
            label_names=train.label_names,
            settings=settings,
            progress=advance,
        )
    judge.save(folder)
    return judge


def labels_of(data: PictureData) -> NDArray[np.int64]:
    """Return the labels of data that has them."""
    assert data.labels is not None
    return data.labels


def levels(drawn: Tensor) -> Pictures:
    """Turn ``(n, c, r, r)`` pictures in [-1, 1] into ``(n, r, r, c)`` uint8."""
    whole = drawn.add(1.0).mul(127.5).round().clamp(0, 255).byte()
    return np.ascontiguousarray(whole.permute(0, 2, 3, 1).numpy())


def as_input(pictures: Pictures) -> Tensor:
    """Turn ``(n, r, r, c)`` uint8 into ``(n, c, r, r)`` in [-1, 1], as training shows them."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def drawn_by_class(
    trained: Trained, classes: int, each: int, *, seed: int = 1
) -> tuple[Pictures, NDArray[np.int64]]:
    """Draw so many pictures of each class: ``(n, r, r, c)`` uint8, and what was asked."""
    asked = torch.arange(classes).repeat_interleave(each)
    drawn = trained.draw(len(asked), seed=seed, embedding=torch.eye(classes)[asked])
    return levels(drawn), asked.numpy()


def accuracy_percent(
    judge: PictureClassifier, pictures: Pictures, asked: NDArray[np.int64]
) -> float:
    """Return how often a judge sees the class that was asked for."""
    return 100.0 * float((judge.all_logits(pictures).argmax(dim=1).numpy() == asked).mean())


@torch.inference_mode()
def head_of(critic: nn.Module, pictures: Pictures, batch: int = 500) -> Tensor:
    """Return ``(n, outputs)``: what a critic's second head says of pictures."""
    return torch.cat(
        [cast(Scores, critic(part)).class_logits for part in torch.split(as_input(pictures), batch)]
    )


def error_percent(critic: nn.Module, data: PictureData) -> float:
    """Return how often the likeliest of a critic's classes is not the label."""
    said = head_of(critic, data.pictures)[:, : len(data.label_names)].argmax(dim=1).numpy()
    return 100.0 * float((said != labels_of(data)).mean())


def fit_alone(
    critic: nn.Module, data: PictureData, *, steps: int, seed: int, batch: int = 64
) -> nn.Module:
    """Train a critic's second head as a classifier of the labelled pictures, without any GAN.

    Args:
        critic: Fresh.
        data: Of which the labelled part is learned from.
        steps: Of Adam at 2e-4 with betas 0.5 and 0.999, as the papers' discriminators learn.
        seed: Of the order.
        batch: Pictures a step.
    """
    labels = labels_of(data)
    known = np.flatnonzero(labels >= 0)
    rows, rng = as_input(data.pictures[known]), np.random.default_rng(seed)
    wanted = torch.from_numpy(labels[known])
    adam = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    critic.train()
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(len(known), size=batch))
        told = cast(Scores, critic(rows[chosen])).class_logits
        adam.zero_grad()
        F.cross_entropy(told[:, : len(data.label_names)], wanted[chosen]).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return critic.eval()


def show_rows(path: Path, pictures: Pictures, each: int, titles: Sequence[str] = ()) -> Path:
    """Write pictures in rows of so many."""
    rows = [list(pictures[at : at + each]) for at in range(0, len(pictures), each)]
    return write_rows(path, rows, titles=titles, cell=56)
