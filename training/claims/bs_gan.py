"""Boundary-seeking GAN: it learns to draw what is discrete."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from training.claims.claim import Measured, Trial, claim
from training.claims.judge import judge_of
from training.data.pictures import PictureData
from training.metrics.classes import inception_score
from training.metrics.features import as_bytes
from training.metrics.latent import write_rows

COUNT = 2_000


@claim(
    paper="no figure; drawn pictures of binarised MNIST and of quantised CelebA",
    shows="black and white digits of every class are drawn, pixel by pixel from learned chances",
)
def bs_gan(trial: Trial) -> Measured:
    """Train on MNIST at 16 pixels with every pixel black or white, and read what is drawn.

    A classifier trained on the real digits, made black and white, reads 2,000 drawn ones. The
    figure is the Inception score's formula over this classifier: 10 at best, 1 for noise or for one
    digit alone. The generator before training stands beside. The claim holds when the score is 6 or
    more, and every pixel is one of the two values.
    """
    data = _black_and_white(trial.data("mnist", resolution=16))
    test = _black_and_white(trial.data("mnist", resolution=16, split="test"))
    judge = judge_of(trial, data, test)
    count = 20 if trial.quick else COUNT

    def drawn(kimg: float, name: str) -> NDArray[np.uint8]:
        trained = trial.train("bs-gan", data, kimg=kimg, name=name, width=32, learning_rate=5e-4)
        return as_bytes(trained.draw(count, seed=trial.seed, batch=100))

    first, last = drawn(0.064, "start"), drawn(600, "bs-gan")
    figures = {
        "digit_score_of_10": inception_score(judge.all_logits(last), network=judge.name).value,
        "start_digit_score_of_10": inception_score(
            judge.all_logits(first), network=judge.name
        ).value,
        "discrete_pixels_percent": 100.0 * float(np.isin(last, (0, 255)).mean()),
    }
    sheet = write_rows(
        trial.out / "drawn.png",
        [list(data.pictures[:10]), list(last[:10]), list(first[:10])],
        titles=["real", "drawn", "drawn before training"],
        cell=48,
    )
    holds = figures["digit_score_of_10"] >= 6 and figures["discrete_pixels_percent"] == 100.0
    return Measured(figures, holds=holds, pictures={"drawn": sheet})


def _black_and_white(data: PictureData) -> PictureData:
    pictures = np.where(data.pictures > 127, 255, 0).astype(np.uint8)
    return dataclasses.replace(data, pictures=pictures, name=f"{data.name}, black and white")
