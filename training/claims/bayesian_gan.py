"""The posterior over generators narrows as the data grow."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from t2i.networks.bayesian import BayesianGenerator
from training.claims.claim import Measured, Trial, claim
from training.claims.modes import sliced_distance
from training.plots import Series, line_chart, save_plot, scatter_plot

SIZES = (50, 500, 5_000)
COUNT = 2_000
SHOWN = 1_000


@claim(
    paper="no such figure; as remembered, unverified: classifies small sets as well as a Bayesian "
    "neural network or better",
    shows="the more data there are, the less the generators of the posterior differ",
)
def bayesian_gan(trial: Trial) -> Measured:
    """Train on 50, 500 and 5,000 points of the ring of eight Gaussians, 400 kimg each.

    How much generators differ is the deviation, over ten of them, of what they draw from one noise,
    its root mean square over noises and coordinates. The gap is the mean W1 distance of the
    projections of points drawn by all ten and of held-out points on 64 directions: a narrow
    posterior may have settled on few modes. The claim holds when the difference falls from 50 to
    500 and from 500 to 5,000.
    """
    test = trial.data("ring8", split="test")
    count = min(COUNT, len(test.samples))
    apart, gaps, series = [], [], []
    for size in SIZES:
        data = trial.data(f"ring8:{size}")
        trained = trial.train("bayesian-gan", data, kimg=400, name=f"of-{size}")
        generator = trained.average
        assert isinstance(generator, BayesianGenerator)
        apart.append(difference(generator, count, seed=trial.seed))
        points = trained.draw(count, seed=trial.seed).numpy()
        gaps.append(sliced_distance(points, test.samples[:count]))
        shown = points[:SHOWN]
        series.append(Series(f"of {size} points", shown[:, 0], shown[:, 1]))
    real = test.samples[:SHOWN]
    plot = scatter_plot(
        [Series("held out", real[:, 0], real[:, 1], colour=6), *series],
        title=f"bayesian-gan on ring8, seed {trial.seed}",
        limits=(-3.0, 3.0),
    )
    chart = line_chart(
        [Series("difference of generators", SIZES, apart), Series("gap", SIZES, gaps)],
        title=f"bayesian-gan, seed {trial.seed}",
        x_label="points of data",
    )
    figures = {f"difference_of_{n}_units": found for n, found in zip(SIZES, apart, strict=True)}
    figures |= {f"gap_of_{n}_units": found for n, found in zip(SIZES, gaps, strict=True)}
    return Measured(
        figures,
        holds=all(later < earlier for earlier, later in pairwise(apart)),
        pictures={
            "points": save_plot(plot, trial.out / "points.png"),
            "narrowing": save_plot(chart, trial.out / "narrowing.png"),
        },
    )


@torch.inference_mode()
def difference(generator: BayesianGenerator, count: int, *, seed: int) -> float:
    """Return how much the generators of a posterior differ, in units of the samples.

    Args:
        generator: Draws with ``generator.draws`` sets of weights.
        count: Noises that are given to each.
        seed: Seed of the noises.
    """
    noise = torch.randn(count, generator.noise_dim, generator=torch.Generator().manual_seed(seed))
    drawn: list[Tensor] = [
        generator.with_weights(generator.weights(number), noise[:, :0], noise)
        for number in range(generator.draws)
    ]
    return float(torch.stack(drawn).var(dim=0).mean().sqrt())
