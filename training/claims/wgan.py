"""WGAN's critic tells how far two distributions are, where the first GAN's cannot."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from training.claims.alone import against, learn_alone, losses_of
from training.claims.claim import Measured, Trial, claim
from training.data.samples import SampleData, fingerprint_of
from training.plots import Series, line_chart, save_plot
from training.prepare import spec_of
from training.registry import find_recipe

SHIFTS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)
COUNT = 20_000
LOG_2 = float(np.log(2.0))


@claim(
    paper="W1 of two parallel lines is their distance, their JS divergence log 2 at any distance "
    "(example 1)",
    shows="the critic's estimate follows the true W1 of two parallel lines; the first GAN's "
    "estimate of their JS divergence stays at log 2",
)
def wgan(trial: Trial) -> Measured:
    """Two lines of unit length at a distance from 0.1 to 2; the true W1 is the distance.

    For each distance a fresh critic learns alone for 400 steps with the paper's settings (weights
    clipped to 0.01, RMSProp of 5e-5, batches of 64). Its estimate is E f(x) - E f(G(z)) over 50
    further batches, true up to a factor, the Lipschitz constant that the clipping allows. It clips
    biases as well, which leaves the critic's kinks near the origin, so the factor is not the same
    at all distances: `factor_spread` is its standard deviation in percent of its mean. The first
    GAN's discriminator learns as long on the same lines; (2 log 2 - loss) / 2 is its bound on the
    JS divergence.

    The claim holds when the estimate rises from each distance to the next and correlates with the
    true W1 by more than 0.95, and the JS bound at the shortest distance is above 0.9 of that at the
    longest: it does not tell near from far.
    """
    steps = 3 if trial.quick else 400
    data = _line(trial.seed)
    trial.used[data.name] = data.fingerprint
    estimates: dict[str, list[float]] = {"wgan": [], "gan": []}
    knobs: dict[str, dict[str, object]] = {
        "wgan": {"noise_dim": 1},
        "gan": {"noise_dim": 1, "width": 64, "batch_size": 64, "learning_rate": 1e-3},
    }
    with trial.progress("wgan: critics alone", steps * len(SHIFTS) * len(knobs)) as advance:
        for key, found in estimates.items():
            for shift in SHIFTS:
                torch.manual_seed(trial.seed)
                recipe = find_recipe(key).build(spec_of(data), **knobs[key])
                recipe = against(recipe, partial(_shifted, shift=shift))
                learn_alone(recipe, data, steps=steps, seed=trial.seed, advance=advance)
                losses = losses_of(recipe, data, seed=trial.seed + 1000, batches=50)
                found.append(float(np.mean([float(each.total) for each in losses])))
    w1 = -np.array(estimates["wgan"])
    js = LOG_2 - np.array(estimates["gan"]) / 2
    factor = w1 / SHIFTS
    correlation = float(np.corrcoef(w1, SHIFTS)[0, 1])
    flat = float(js[0] / js[-1])
    chart = line_chart(
        [
            Series("true W1", SHIFTS, SHIFTS, dashed=True),
            Series("critic's estimate / its mean factor", SHIFTS, w1 / factor.mean()),
            Series("GAN's bound on JS, nats", SHIFTS, js),
        ],
        title=f"parallel lines, seed {trial.seed}",
        x_label="distance of the lines",
    )
    path = save_plot(chart, trial.out / "lines.png")
    return Measured(
        {
            "correlation_with_w1": correlation,
            "factor_spread_percent": 100 * float(factor.std() / abs(factor.mean())),
            "js_bound_nearest_nats": float(js[0]),
            "js_bound_farthest_nats": float(js[-1]),
        },
        holds=bool((np.diff(w1) > 0).all()) and correlation > 0.95 and flat > 0.9,
        pictures={"lines": path},
    )


def _line(seed: int) -> SampleData:
    """Points (0, u) with u uniform from 0 to 1."""
    heights = np.random.default_rng([seed, 17]).random(COUNT)
    points = np.stack([np.zeros(COUNT), heights], axis=1).astype(np.float32)
    return SampleData("line", fingerprint_of(["line", seed], points), points)


def _shifted(noise: Tensor, shift: float) -> Tensor:
    """Points (shift, u) with u uniform from 0 to 1, of normal noise ``(n, 1)``."""
    heights = torch.special.ndtr(noise)
    return torch.cat([torch.full_like(heights, shift), heights], dim=1)
