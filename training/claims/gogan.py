"""GoGAN: each stage comes nearer to the data."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.claims.claim import Measured, Trial, claim
from training.claims.trial import draw
from training.plots import Series, save_plot, scatter_plot

COUNT = 5_000
DIRECTIONS = 64
STAGE_KIMG = 64.0
STAGES = 3


@claim(
    paper="no such figure; in theory each stage, trained to its optimum, at least halves the gap",
    shows="the distance of the drawn points from the data shrinks from stage to stage",
)
def gogan(trial: Trial) -> Measured:
    """Train three stages on the ring of eight Gaussians and measure how far the points are.

    At the end of each stage 5,000 drawn points are compared with 5,000 held-out ones: the mean W1
    distance of their projections on 64 directions. Beside it the floor, real against real, and a
    single stage (a WGAN with a margin) that trained as long as all three. The claim holds when each
    stage is nearer than the one before.
    """
    data, test = trial.data("ring8"), trial.data("ring8", split="test")
    count = min(COUNT, len(test.samples) // 2)
    real, other = test.samples[:count], test.samples[count : 2 * count]

    def gap(generator: nn.Module) -> dict[str, float]:
        points = draw(generator, count, seed=trial.seed).numpy()
        return {"gap": sliced_distance(points, real)}

    shared: dict[str, Any] = {
        "kimg": STAGES * STAGE_KIMG,
        "watch": gap,
        "watch_kimg": STAGE_KIMG,
        "stage_kimg": STAGE_KIMG,
        "clip": 0.1,
        "n_dis": 2,
        "learning_rate": 5e-4,
    }
    staged = trial.train("gogan", data, name="stages", stages=STAGES, **shared)
    single = trial.train("gogan", data, name="single", stages=1, **shared)
    gaps = [moment.figures["gap"] for moment in staged.moments]
    figures = {f"stage_{number}_gap_units": found for number, found in enumerate(gaps, 1)}
    figures |= {
        "single_stage_gap_units": single.moments[-1].figures["gap"],
        "floor_units": sliced_distance(real, other),
    }
    points = staged.draw(2_000, seed=trial.seed).numpy()
    plot = scatter_plot(
        [
            Series("data", data.samples[:2_000, 0], data.samples[:2_000, 1], colour=6),
            Series("last stage", points[:, 0], points[:, 1], colour=0),
        ],
        title=f"gogan on ring8, seed {trial.seed}",
    )
    path = save_plot(plot, trial.out / "points.png")
    holds = all(later < earlier for earlier, later in pairwise(gaps))
    return Measured(figures, holds=holds, pictures={"points": path})


def sliced_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the mean W1 distance of projections of two sets of as many points ``(n, 2)``."""
    angles = torch.arange(DIRECTIONS) * (np.pi / DIRECTIONS)
    directions = torch.stack([angles.cos(), angles.sin()])
    lines = [(torch.from_numpy(each) @ directions).sort(dim=0).values for each in (first, second)]
    return float((lines[0] - lines[1]).abs().mean())
