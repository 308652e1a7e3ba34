"""SGAN: a classifier of few labels is better for having a generator beside it."""

from __future__ import annotations

import torch

from training.claims.claim import Measured, Trial, claim
from training.claims.critics import error_percent, fit_alone
from training.claims.pictures import show_rows
from training.metrics.features import as_bytes
from training.prepare import spec_of
from training.registry import find_recipe

LABELS, WIDTH = 100, 32


@claim(
    paper="92.8 % of test digits right from 100 labels, 89.5 % by the network alone (table 1)",
    shows="100 labels give a better classifier with a generator beside it than without",
)
def sgan(trial: Trial) -> Measured:
    """Train on MNIST with 100 labels, and the same network on the labels alone; compare on test.

    The pictures whose labels were taken away are seen by the GAN and not by the network alone. The
    claim holds when the error is lower. Half the usual width, 400 kimg, bfloat16.
    """
    data = trial.data("mnist", labels=LABELS, seed=trial.seed)
    test = trial.data("mnist", split="test")
    trained = trial.train("sgan", data, kimg=400.0, width=WIDTH, precision="bf16")
    error = error_percent(trained.networks["discriminator"], test)
    torch.manual_seed(trial.seed)
    width = 4 if trial.quick else WIDTH
    fresh = find_recipe("sgan").build(spec_of(data), width=width).networks["discriminator"]
    steps = 3 if trial.quick else 1000
    alone = error_percent(fit_alone(fresh, data, steps=steps, seed=trial.seed), test)
    figures = {"error_percent": error, "alone_error_percent": alone}
    sheet = show_rows(trial.out / "drawn.png", as_bytes(trained.draw(40, seed=1)), 10)
    return Measured(figures, holds=error < alone, pictures={"drawn": sheet})
