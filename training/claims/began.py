"""BEGAN: a measure that tells how far training is, and a ratio that trades variety for quality."""

from __future__ import annotations

import numpy as np

from training.claims.claim import Measured, Trial, claim
from training.claims.judge import judge_of
from training.metrics.features import as_bytes, extract
from training.metrics.latent import write_rows
from training.metrics.manifold import manifold
from training.plots import Series, line_chart, panels, save_plot

COUNT = 1_000
GAMMAS = (0.3, 0.7)


@claim(
    paper="no figure; M_global falls as pictures get better (figure 5), and faces get more uniform "
    "as γ falls (figure 3)",
    shows="M_global falls through training, and a higher γ gives more variety at less quality",
)
def began(trial: Trial) -> Measured:
    """Train on MNIST at 16 pixels with γ = 0.3 and γ = 0.7, 40 kimg each, bfloat16.

    The fall of M_global is that of its mean over the last tenth of the reports from that over the
    first. Quality and variety are precision and recall of 1,000 drawn digits against 1,000 real
    test digits in the features of a classifier of the real ones. The claim holds when M_global
    falls in both runs, γ = 0.7 recalls more, and γ = 0.3 is more precise.
    """
    data = trial.data("mnist", resolution=16)
    test = trial.data("mnist", resolution=16, split="test")
    judge = judge_of(trial, data, test)
    count = 20 if trial.quick else COUNT
    real = extract(judge, test.pictures[:count])
    figures: dict[str, float] = {}
    rows, lines = [], []
    for gamma in GAMMAS:
        trained = trial.train(
            "began", data, kimg=40, name=f"gamma-{gamma}", gamma=gamma, width=32, noise_dim=32,
            code_dim=32, precision="bf16",
        )  # fmt: skip
        pictures = as_bytes(trained.draw(count, seed=trial.seed, batch=100))
        shares = manifold(real, extract(judge, pictures))
        measure = np.array([row["G/global_measure"] for row in trained.log])
        tenth = max(1, len(measure) // 10)
        fall = 1.0 - measure[-tenth:].mean() / measure[:tenth].mean()
        name = f"gamma_{gamma}".replace(".", "")
        figures |= {
            f"{name}_measure_fall_percent": 100.0 * float(fall),
            f"{name}_precision_percent": 100.0 * shares.precision,
            f"{name}_recall_percent": 100.0 * shares.recall,
        }
        rows.append(list(pictures[:10]))
        lines.append(Series(f"γ = {gamma}", [row["kimg"] for row in trained.log], measure))
    low, high = (f"gamma_{gamma}".replace(".", "") for gamma in GAMMAS)
    holds = (
        min(figures[f"{name}_measure_fall_percent"] for name in (low, high)) > 0.0
        and figures[f"{high}_recall_percent"] > figures[f"{low}_recall_percent"]
        and figures[f"{low}_precision_percent"] > figures[f"{high}_precision_percent"]
    )
    chart = save_plot(
        panels([line_chart(lines, title="M_global", x_label="kimg")]), trial.out / "measure.png"
    )
    titles = [f"gamma {gamma}" for gamma in GAMMAS]
    sheet = write_rows(trial.out / "drawn.png", rows, titles=titles, cell=48)
    return Measured(figures, holds=holds, pictures={"drawn": sheet, "measure": chart})
