"""Many generators of the posterior cover what one of them misses."""

from __future__ import annotations

import numpy as np
import torch

from t2i.networks.bayesian import BayesianGenerator
from training.claims.claim import Measured, Trial, claim
from training.claims.modes import DRAWN, SHOWN, modes_of
from training.metrics.mixtures import mixture_modes
from training.plots import Series, save_plot, scatter_plot

RADIUS = 6.0


@claim(
    paper="no such figure; as remembered, unverified: classifies small sets as well as a Bayesian "
    "neural network or better",
    shows="ten generators of the posterior together cover more modes than one of them does",
)
def bayesian_gan(trial: Trial) -> Measured:
    """Train on 500 points of the grid of 25 Gaussians; draw with ten generators and with each.

    Few points leave the posterior wide. A mode is covered when a fifth of its fair share of 10,000
    points lands within six standard deviations of its centre. The claim holds when the ten cover
    more than one of them does on average.
    """
    data = trial.data("grid25:500")
    trained = trial.train("bayesian-gan", data, kimg=400)
    generator = trained.average
    assert isinstance(generator, BayesianGenerator)
    assert data.mixture is not None
    count = DRAWN // 100 if trial.quick else DRAWN
    together = modes_of(generator, data, count, radius=RADIUS)
    noise = torch.randn(
        count, generator.noise_dim, generator=torch.Generator().manual_seed(trial.seed)
    )
    alone = []
    with torch.inference_mode():
        for number in range(generator.draws):
            weights = generator.weights(number)
            points = generator.with_weights(weights, torch.zeros(count, 0), noise).numpy()
            found = mixture_modes(
                points, data.mixture.centres, data.mixture.deviation, radius=RADIUS
            )
            alone.append(found.well_covered)
    points = trained.draw(SHOWN, seed=1).numpy()
    plot = scatter_plot(
        [
            Series("data", data.samples[:SHOWN, 0], data.samples[:SHOWN, 1], colour=6),
            Series("posterior", points[:, 0], points[:, 1], colour=0),
        ],
        title=f"bayesian-gan on grid25, seed {trial.seed}",
        limits=(-6.0, 6.0),
    )
    one = float(np.mean(alone))
    return Measured(
        {
            "modes_of_25": float(together.well_covered),
            "modes_of_25_by_one": one,
            "high_quality_percent": 100 * together.good,
        },
        holds=together.well_covered > one,
        pictures={"points": save_plot(plot, trial.out / "points.png")},
    )
