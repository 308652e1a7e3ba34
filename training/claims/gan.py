"""The first GAN learns a density, and its saturating loss vanishes where D is sure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from training.claims.alone import against, batch_of, learn_alone
from training.claims.claim import Measured, Trial, claim
from training.data.mixtures import MixtureData
from training.plots import Series, line_chart, save_plot
from training.prepare import spec_of
from training.registry import find_recipe
from training.stream import SampleStream

DRAWN = 20_000
LINE = np.linspace(-4.0, 4.0, 161)
KNOBS: dict[str, Any] = {"width": 64, "noise_dim": 8, "learning_rate": 1e-3, "batch_size": 256}


@claim(
    paper="no figure; D falls to 1/2 where G has learned the density (figure 1, proposition 1), "
    "and log(1 - D(G(z))) saturates where D is sure (section 3)",
    shows="on a 1-D density D comes to 1/2, and against a sure D the saturating loss moves G less "
    "than a tenth as much as the other one",
)
def gan(trial: Trial) -> Measured:
    """Train on two unequal humps on the line, 256 points a step, with Adam of 0.001.

    D's error is the mean of |D(x) - 1/2| over 20,000 points, half of the data's test split and half
    drawn. Beside it stands the Wasserstein distance of drawn points from the test split.

    Then a fresh D learns alone against points drawn at 4 + z / 10, far from the data, until it is
    sure. The figure is the norm of the gradient of eq. 1's loss by the drawn points, divided by
    that of -log D(G(z)).

    The claim holds when D's error is below 0.05 and the ratio below 0.1, and the distance below a
    quarter of the data's standard deviation: a D that had learned nothing would say 1/2 as well.
    """
    data = trial.data("mixture1d")
    trained = trial.train("gan", data, kimg=600, **KNOBS)
    test = trial.data("mixture1d", split="test", count=DRAWN)
    drawn = trained.draw(len(test)).double().numpy()
    critic = trained.networks["discriminator"]
    both = np.concatenate([test.samples[::2], drawn[::2]])
    error = float(np.abs(_judged(critic, both) - 0.5).mean())
    w1 = float(np.abs(np.sort(test.samples[:, 0]) - np.sort(drawn[:, 0])).mean())
    ratio = _gradient_ratio(trial, data)
    chart = _chart(data, drawn, critic)
    path = save_plot(chart, trial.out / "density.png")
    return Measured(
        {"d_from_half": error, "w1_from_data": w1, "saturating_gradient_ratio": ratio},
        holds=error < 0.05 and ratio < 0.1 and w1 < float(test.samples.std()) / 4,
        pictures={"density": path},
    )


def _judged(critic: nn.Module, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """D of ``(n, 1)`` points, from 0 to 1."""
    with torch.inference_mode():
        logits: Tensor = critic(torch.from_numpy(points.astype(np.float32))).logits
    return logits.double().sigmoid().numpy()


def _gradient_ratio(trial: Trial, data: MixtureData) -> float:
    norms = []
    for saturating in (True, False):
        torch.manual_seed(trial.seed)
        recipe = find_recipe("gan").build(spec_of(data), **KNOBS, saturating=saturating)
        steps = 3 if trial.quick else 500
        far = against(recipe, _far(torch.zeros(1)))
        with trial.progress(f"gan: D alone, saturating {saturating}", steps) as advance:
            learn_alone(far, data, steps=steps, seed=trial.seed, advance=advance)
        moved = torch.zeros(recipe.batch_size, 1, requires_grad=True)
        near = against(recipe, _far(moved))
        phase = next(phase for phase in recipe.phases if phase.name == "generator")
        batch = batch_of(SampleStream(data, seed=trial.seed), recipe, steps)
        total = phase.loss(near.networks, batch).total
        (gradient,) = torch.autograd.grad(total, moved)
        norms.append(float(gradient.norm()))
    return norms[0] / norms[1]


def _far(moved: Tensor) -> Callable[[Tensor], Tensor]:
    """Points at 4 + z / 10, moved by ``(n, 1)``."""
    return lambda noise: 4.0 + noise[:, :1] / 10 + moved


def _chart(data: MixtureData, drawn: NDArray[np.float64], critic: nn.Module) -> Image.Image:
    assert data.mixture is not None
    edges = np.linspace(LINE[0], LINE[-1], 81)
    heights, _ = np.histogram(drawn[:, 0], bins=edges, density=True)
    return line_chart(
        [
            Series("data's density", LINE, np.exp(data.mixture.log_density(LINE[:, None]))),
            Series("drawn", (edges[1:] + edges[:-1]) / 2, heights),
            Series("D(x)", LINE, _judged(critic, LINE[:, None]), dashed=True),
        ],
        title="gan on two humps",
        x_label="x",
    )
