"""Unrolled GAN covers the ring that the same players without unrolling run around on."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from training.claims.claim import Measured, Trained, Trial, claim
from training.claims.modes import DRAWN, SHOWN, modes_of
from training.claims.trial import draw
from training.plots import Series, panels, save_plot, scatter_plot

STEPS = 5
RADIUS = 15.0


@claim(
    paper="the ordinary GAN goes from mode to mode; unrolling covers all 8 (figure 2)",
    shows="looking 5 steps ahead covers 8 of 8 modes on a ring where not looking ahead cycles",
)
def unrolled_gan(trial: Trial) -> Measured:
    """Train with K = 5 and with K = 0 on the ring of 8 Gaussians and count modes of 10,000 points.

    A mode is covered when at least a fifth of its fair share lands within 0.3 of its centre, which
    is 15 standard deviations, as 1,500 steps draw broad modes; neighbours are 1.5 apart. On the way
    of the run with K = 0 the centre nearest to its points' mean place is noted: the places that it
    visits. The claim holds when K = 5 covers 8 of 8 at the end, and K = 0 fewer than 8 after it has
    been at 4 places or more. Networks are smaller than the paper's and learning rates higher, G's
    more so than D's.
    """
    data = trial.data("ring8")

    def figures(generator: nn.Module) -> Mapping[str, float]:
        modes = modes_of(generator, data, DRAWN // 100 if trial.quick else DRAWN, radius=RADIUS)
        # Of the points off any mode too: the run without unrolling seldom settles on one.
        middle = draw(generator, SHOWN).mean(dim=0).numpy()
        nearest = ((data.mixture.centres - middle) ** 2).sum(axis=1).argmin()
        return {
            "modes_of_8": float(modes.well_covered),
            "near_a_mode_percent": 100 * modes.good,
            "main_mode": float(nearest),
        }

    def run(unrolled: int) -> Trained:
        return trial.train(
            "unrolled-gan",
            data,
            kimg=192,
            name=f"unrolled-{unrolled}",
            watch=figures,
            watch_kimg=10,
            unrolled=unrolled,
            learning_rate=3e-4,
            generator_rate=1e-3,
            width=32,
            noise_dim=64,
            batch_size=128,
        )

    runs = {STEPS: run(STEPS), 0: run(0)}
    ahead, plain = runs[STEPS], runs[0]
    last, without = ahead.moments[-1].figures, plain.moments[-1].figures
    places = len({moment.figures["main_mode"] for moment in plain.moments})
    plots = []
    for steps, trained in runs.items():
        points = trained.draw(SHOWN, seed=1).numpy()
        plots.append(
            scatter_plot(
                [
                    Series("data", data.samples[:SHOWN, 0], data.samples[:SHOWN, 1], colour=6),
                    Series(f"K = {steps}", points[:, 0], points[:, 1], colour=0),
                ],
                title=f"K = {steps}, seed {trial.seed}",
                limits=(-3.0, 3.0),
            )
        )
    best = ahead.best("modes_of_8")
    return Measured(
        {
            "modes_of_8": last["modes_of_8"],
            "near_a_mode_percent": last["near_a_mode_percent"],
            "modes_of_8_without_unrolling": without["modes_of_8"],
            "places_visited_without_unrolling": float(places),
        },
        holds=last["modes_of_8"] == 8.0 and without["modes_of_8"] < 8.0 and places >= 4,
        pictures={"points": save_plot(panels(plots), trial.out / "points.png")},
        best={
            "modes_of_8": best["modes_of_8"],
            "near_a_mode_percent": best["near_a_mode_percent"],
            "modes_of_8_without_unrolling": plain.best("modes_of_8")["modes_of_8"],
        },
    )
