"""Conditional GAN draws the digit that is asked."""

from __future__ import annotations

import torch

from training.claims.claim import Measured, Trial, claim
from training.claims.judge import drawn_as, judge_of
from training.claims.pictures import labels_of, show_rows
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
    trained = trial.train("cgan", data, kimg=600, width=32, precision="bf16")
    count = 20 if trial.quick else 2_000
    asked = torch.arange(count) % (classes := len(data.label_names))
    pictures = drawn_as(trained, asked, classes, seed=trial.seed, batch=100)
    known = slice(0, 2_000)
    by_class = asked.argsort(stable=True).reshape(classes, -1)[:, :10]
    sheet = show_rows(trial.out / "by_label.png", pictures[by_class.flatten()], by_class.shape[1])
    found = class_accuracy(
        judge.all_logits(pictures),
        asked,
        judge.all_logits(test.pictures[known]),
        torch.from_numpy(labels_of(test)[known]),
        network=judge.name,
        resize=judge.resize,
    )
    return Measured(
        {
            "asked_digit_read_percent": 100 * found.value,
            "judge_on_real_percent": 100 * found.classifier,
        },
        holds=found.value >= 0.9,
        pictures={"by_label": sheet},
    )
