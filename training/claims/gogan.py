"""GoGAN: does a ranked stage come nearer to the data than longer training does?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import nn

from training.claims.claim import Measured, Trained, Trial, claim
from training.claims.modes import sliced_distance
from training.claims.trial import draw
from training.plots import Series, line_chart, save_plot

COUNT = 5_000
STAGE_KIMG = 64.0
STAGES = 3
# Gaps are looked at so often within a stage.
LOOKS = 16


@claim(
    paper="no such figure; in theory each stage, trained to its optimum, at least halves the gap",
    shows="each stage comes nearer to the data, and the last nearer than one stage as long as all",
)
def gogan(trial: Trial) -> Measured:
    """Train three stages on the ring of eight Gaussians, and a single one for as long.

    The single stage is a WGAN with a margin; until the second stage begins, both runs are the same.
    The gap is the mean W1 distance of the projections of 5,000 drawn and 5,000 held-out points on
    64 directions; beside it the floor, real against real. Longer training alone narrows it, so the
    ranking helps only by what the single stage does not reach: the claim holds when each stage is
    nearer than the one before and the last is nearer than the single stage.
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
        "watch_kimg": STAGE_KIMG / LOOKS,
        "stage_kimg": STAGE_KIMG,
        "clip": 0.1,
        "n_dis": 2,
        "learning_rate": 5e-4,
    }
    staged = trial.train("gogan", data, name="stages", stages=STAGES, **shared)
    single = trial.train("gogan", data, name="single", stages=1, **shared)
    gaps, alone = (at_ends(run) for run in (staged, single))
    floor = sliced_distance(real, other)
    figures = {"ranking_gain_units": alone[-1] - gaps[-1]}
    figures |= {f"stage_{number}_gap_units": found for number, found in enumerate(gaps, 1)}
    figures |= {"single_stage_gap_units": alone[-1], "floor_units": floor}
    lines = [
        Series(
            name,
            [moment.kimg for moment in run.moments],
            [moment.figures["gap"] for moment in run.moments],
        )
        for name, run in (("three stages", staged), ("a single stage", single))
    ]
    ends = [0.0, shared["kimg"]]
    chart = line_chart(
        [*lines, Series("real against real", ends, [floor, floor], dashed=True)],
        title=f"distance from the data, seed {trial.seed}",
        x_label=f"thousands of points, stages of {STAGE_KIMG:g}",
        y_label="gap",
    )
    nearer = all(later < earlier for earlier, later in pairwise(gaps))
    return Measured(
        figures,
        holds=nearer and gaps[-1] < alone[-1],
        pictures={"gap": save_plot(chart, trial.out / "gap.png")},
    )


def at_ends(run: Trained) -> list[float]:
    """Return the last gap seen before each stage ends, or as late in the run of a single one."""
    ends = [number * STAGE_KIMG for number in range(1, STAGES)]
    early = [[seen for seen in run.moments if seen.kimg <= end] for end in ends]
    return [seen[-1].figures["gap"] for seen in (*early, run.moments)]
