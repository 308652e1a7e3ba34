"""AM-GAN's pictures are of one class each, more surely than AC-GAN's."""

from __future__ import annotations

import numpy as np
import torch

from training.claims.claim import Measured, Trial, claim
from training.claims.judge import drawn_by_class, judge_of
from training.claims.pictures import labels_of, show_rows
from training.metrics.classes import am_score
from training.metrics.features import as_bytes

JUDGE_KIMG = 120.0


@claim(
    paper="0.08 on CIFAR-10, AC-GAN 0.17; with predefined labels 0.05 and 0.16 (table 1)",
    shows="the AM score is below that of AC-GAN at the same budget",
)
def am_gan(trial: Trial) -> Measured:
    """Draw from both after the same training, and let a classifier of its own score them.

    The AM score, in nats, is the divergence of the training set's classes from the mean answer plus
    the answers' mean entropy; lower is better (the paper takes the classifier's mean answer on the
    training set where this takes its labels). Beside it stands the data's own. The claim
    holds when AM-GAN's is the lower of the two. Half the usual width, 300 kimg each, bfloat16.
    """
    train, test = trial.data("mnist"), trial.data("mnist", split="test")
    classes, count = len(train.label_names), 40 if trial.quick else 5000
    judge = judge_of(trial, train, test, kimg=JUDGE_KIMG)
    shares = torch.from_numpy(np.bincount(labels_of(train), minlength=classes))
    mine = trial.train("am-gan", train, kimg=300.0, width=32, precision="bf16")
    theirs = trial.train("ac-gan", train, kimg=300.0, width=32, precision="bf16")
    drawn = as_bytes(mine.draw(count, seed=1))
    asked, _ = drawn_by_class(theirs, classes, count // classes)
    real = judge.all_logits(test.pictures)
    score, other = (
        am_score(judge.all_logits(each), shares, real, network=judge.name)
        for each in (drawn, asked)
    )
    figures = {
        "am_score_nats": score.value,
        "ac_gan_am_score_nats": other.value,
        "data_am_score_nats": float(score.floor or 0.0),
    }
    sheet = show_rows(trial.out / "drawn.png", drawn[:40], 10)
    return Measured(figures, holds=score.value < other.value, pictures={"drawn": sheet})
