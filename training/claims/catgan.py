"""CatGAN sorts digits that nobody labelled, and needs few labels to name them."""

from __future__ import annotations

from typing import Any

from training.claims.claim import Measured, Trial, claim
from training.claims.critics import error_percent, head_of
from training.claims.pictures import labels_of, show_rows
from training.metrics.clusters import cluster_error
from training.metrics.features import as_bytes

CATEGORIES, LABELS = 20, 100


@claim(
    paper="4.27 % unsupervised, 1.39 % with 100 labels (convolutional networks, section 5)",
    shows="categories found without labels are digits, and 100 labels name them",
)
def catgan(trial: Trial) -> Measured:
    """Sort test digits into 20 categories, each named by the commonest digit of training data.

    A second run has ten categories and 100 labels; its likeliest class is compared with the truth.
    The claim holds below 15 % of errors without labels and 5 % with 100. Half the usual width, 400
    kimg each, bfloat16.
    """
    train, test = trial.data("mnist"), trial.data("mnist", split="test")
    few = trial.data("mnist", labels=LABELS, seed=trial.seed)
    shared: dict[str, Any] = {"kimg": 400.0, "width": 32, "precision": "bf16"}
    alone = trial.train("catgan", train, categories=CATEGORIES, **shared)
    told = trial.train("catgan", few, name="labels", label_weight=1.0, **shared)
    some = slice(0, 10_000)
    read, match = (
        head_of(alone.networks["discriminator"], pictures).argmax(dim=1).numpy()
        for pictures in (test.pictures, train.pictures[some])
    )
    sorted_ = cluster_error(
        read,
        labels_of(test),
        code_count=CATEGORIES,
        class_count=len(test.label_names),
        assignment="majority",
        match_codes=match,
        match_labels=labels_of(train)[some],
    )
    error = error_percent(told.networks["discriminator"], test)
    figures = {"cluster_error_percent": 100.0 * sorted_.value, "error_percent": error}
    sheet = show_rows(trial.out / "drawn.png", as_bytes(alone.draw(40, seed=1)), 10)
    holds = sorted_.value < 0.15 and error < 5.0
    return Measured(figures, holds=holds, pictures={"drawn": sheet})
