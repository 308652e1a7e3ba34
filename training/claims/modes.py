"""What the claims on points share: train, draw, count modes, measure distances, plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.claims.claim import Measured, Trial
from training.claims.trial import draw
from training.data.mixtures import MixtureData
from training.metrics.mixtures import Modes, mixture_modes
from training.plots import Series, save_plot, scatter_plot

DRAWN = 10_000
SHOWN = 2_000
DIRECTIONS = 64


def train_and_count(
    trial: Trial,
    key: str,
    name: str,
    *,
    kimg: float,
    needed: int,
    watch_kimg: float = 100.0,
    **knobs: Any,
) -> Measured:
    """Train a paper on a mixture and count the modes that it covers, on the way and at the end.

    Args:
        trial: The seed.
        key: The paper.
        name: The mixture, such as ``grid25``.
        kimg: Length in thousands of points.
        needed: Modes that must be well covered at the end for the claim to hold.
        watch_kimg: Distance of counts on the way.
        **knobs: Arguments of the recipe.
    """
    data = trial.data(name)

    def figures(generator: nn.Module) -> Mapping[str, float]:
        return _figures(modes_of(generator, data, DRAWN // 100 if trial.quick else DRAWN))

    trained = trial.train(key, data, kimg=kimg, watch=figures, watch_kimg=watch_kimg, **knobs)
    last = trained.moments[-1].figures
    covered = next(iter(last))
    points = trained.draw(SHOWN, seed=1).numpy()
    plot = scatter_plot(
        [
            Series("data", data.samples[:SHOWN, 0], data.samples[:SHOWN, 1], colour=6),
            Series(key, points[:, 0], points[:, 1], colour=0),
        ],
        title=f"{key} on {name}, seed {trial.seed}",
    )
    path = save_plot(plot, trial.out / f"{key}.png")
    return Measured(
        last, holds=last[covered] >= needed, pictures={"points": path}, best=trained.best(covered)
    )


def modes_of(
    generator: nn.Module, data: MixtureData, count: int, *, seed: int = 0, radius: float = 3.0
) -> Modes:
    """Count the modes of a mixture that a generator's points lie on.

    Args:
        generator: What draws the points.
        data: Points of the mixture.
        count: How many are drawn.
        seed: Seed of the noise.
        radius: How far from a centre a point counts, in standard deviations of the mode.
    """
    assert data.mixture is not None
    points = draw(generator, count, seed=seed).numpy()
    mixture = data.mixture
    return mixture_modes(
        points, mixture.centres, mixture.deviation, weights=mixture.weights, radius=radius
    )


def sliced_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the mean W1 distance of projections of two sets of as many points ``(n, 2)``."""
    angles = torch.arange(DIRECTIONS) * (np.pi / DIRECTIONS)
    directions = torch.stack([angles.cos(), angles.sin()])
    lines = [(torch.from_numpy(each) @ directions).sort(dim=0).values for each in (first, second)]
    return float((lines[0] - lines[1]).abs().mean())


def _figures(modes: Modes) -> dict[str, float]:
    return {
        f"modes_of_{modes.total}": float(modes.well_covered),
        "high_quality_percent": 100 * modes.good,
    }
