"""Three ways to play f(x, y) = xy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from training.claims.claim import Measured, Trial, claim
from training.plots import Series, panels, save_plot, scatter_plot

START = math.sqrt(2.0)
WAYS: Mapping[str, Mapping[str, Any]] = {
    "at the same time": {},
    "in turn": {"alternating": True},
    "historical averaging": {"history": 0.2},
}


@claim(
    paper="no figure; descent goes round without end (Goodfellow 2017, section 8.2), historical "
    "averaging finds such equilibria (Salimans et al. 2016, section 3.3)",
    shows="simultaneous play moves away, alternating play goes round, historical averaging arrives",
)
def bilinear_game(trial: Trial) -> Measured:
    """Play 1,000 steps of rate 0.05 from (1, 1) in three ways and follow the distance from (0, 0).

    Nothing here is random, so every seed gives the same. The places are means over ten steps. The
    claim holds when the distance of simultaneous play at least doubles, that of alternating play
    stays within a tenth of the start while x changes its sign again and again, and that with
    historical averaging falls under a tenth.
    """
    data = trial.data("ring8:64")
    away, turns, plots = {}, {}, []
    for way, knobs in WAYS.items():
        name = way.replace(" ", "_")
        trained = trial.train("bilinear-game", data, kimg=1.0, name=name, rate=0.05, **knobs)
        x = np.array([1.0, *(row["x"] for row in trained.log)])
        y = np.array([1.0, *(row["y"] for row in trained.log)])
        away[name] = float(np.hypot(x[-1], y[-1]))
        turns[name] = int((x[1:] * x[:-1] < 0).sum())
        plots.append(
            scatter_plot(
                [Series("", x, y, colour=0), Series("start", x[:1], y[:1], colour=1)],
                title=way,
                x_label="x",
                y_label="y",
                radius=2.0,
            )
        )
    return Measured(
        {f"distance_{name}": distance for name, distance in away.items()},
        holds=away["at_the_same_time"] > 2.0 * START
        and abs(away["in_turn"] / START - 1.0) < 0.1
        and turns["in_turn"] >= 4
        and away["historical_averaging"] < 0.1 * START,
        pictures={"ways": save_plot(panels(plots, columns=3), trial.out / "ways.png")},
    )
