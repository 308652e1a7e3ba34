"""b-GAN: the estimated ratio is the density ratio."""

from __future__ import annotations

import numpy as np
import torch

from training.claims.claim import Measured, Trial, claim
from training.claims.pairs import PAIR, fit_critic, held_out
from training.divergences import DIVERGENCES, bregman, ratio_of
from training.plots import Series, line_chart, save_plot

ALPHA = 0.5


@claim(
    paper="no figure; the Bregman divergence is least at the true ratio",
    shows="the ratio that the critic learns is the known density ratio of two Gaussians",
)
def b_gan(trial: Trial) -> Measured:
    """Estimate the ratio of two Gaussians of the plane by each Bregman divergence.

    P has unit width, Q is 1.1 wide and lies 0.6 aside. Measured is the mean distance of the
    estimated from the true log-ratio over 100,000 held-out points of Q, where a generator would
    meet it, in nats; and for Pearson the same of the relative ratio, half of whose denominator is
    P. The claim holds when both of Pearson's, the paper's choice, are under 0.1.
    """
    _, points = held_out(trial)
    truth = torch.from_numpy(PAIR.log_ratio(points.numpy()))
    relative = truth - torch.logaddexp(truth + np.log(ALPHA), torch.tensor(np.log(1 - ALPHA)))
    order = truth.argsort()[:: max(1, len(truth) // 200)]
    figures, lines = {}, []
    for name, alpha in [("pearson", 0.0), ("pearson", ALPHA)] + [
        (name, 0.0) for name in DIVERGENCES if name != "pearson"
    ]:
        critic = fit_critic(trial, bregman(DIVERGENCES[name], alpha))
        with torch.inference_mode():
            estimate = ratio_of(critic(points).logits.double(), alpha).log()
        away = float((estimate - (relative if alpha else truth)).abs().mean())
        called = f"{name} relative" if alpha else name
        figures[f"{called.replace('-', '_').replace(' ', '_')}_error_nats"] = away
        if not alpha:
            lines.append(Series(called, truth[order].numpy(), estimate[order].numpy()))
    ends = [float(truth.min()), float(truth.max())]
    chart = line_chart(
        [*lines, Series("truth", ends, ends, dashed=True)],
        title=f"log-ratio at points of Q, seed {trial.seed}",
        x_label="true log p/q",
        y_label="estimated",
    )
    holds = figures["pearson_error_nats"] < 0.1 and figures["pearson_relative_error_nats"] < 0.1
    path = save_plot(chart, trial.out / "ratio.png")
    return Measured(figures, holds=holds, pictures={"ratio": path})
