"""Conditional GAN draws the digit that is asked."""

from __future__ import annotations

import torch

from training.claims.claim import Measured, Trial, claim
from training.claims.judge import drawn_by_label, judge_of, sheet_by_label
from training.metrics.classes import class_accuracy


@claim(
    paper="no such figure; rows of digits by label (figure 2)",
    shows="a classifier that never saw a drawn picture reads the digit that was asked",
)
def cgan(trial: Trial) -> Measured:
    """Train on MNIST at 16 pixels, draw 2,000 digits, 200 of each, and read them.

    The reader is a small convolutional classifier trained on the real training digits; its own
    accuracy on the real test digits stands beside. The claim holds when 90 % or more are read as
    what was asked.
    """
    data = trial.data("mnist", resolution=16)
    test = trial.data("mnist", resolution=16, split="test")
    judge = judge_of(trial, data, test)
    trained = trial.train("cgan", data, kimg=300, width=32)
    count = 20 if trial.quick else 2_000
    pictures, asked = drawn_by_label(trained, len(data.label_names), count, seed=trial.seed)
    known = slice(0, 2_000)
    found = class_accuracy(
        judge.all_logits(pictures),
        asked,
        judge.all_logits(test.pictures[known]),
        torch.from_numpy(test.labels[known]),
        network=judge.name,
        resize=judge.resize,
    )
    return Measured(
        {
            "asked_digit_read_percent": 100 * found.value,
            "judge_on_real_percent": 100 * found.classifier,
        },
        holds=found.value >= 0.9,
        pictures=sheet_by_label(trial, pictures, asked),
    )
