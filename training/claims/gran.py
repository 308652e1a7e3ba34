"""GRAN draws better in several steps than in one."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from t2i.networks import RecurrentGenerator
from t2i.networks.base import Critic
from training.claims.claim import Measured, Trained, Trial, claim
from training.claims.fidelity import drawn_evenly, fidelity_of, save_sheet

STEPS = (1, 3, 5)


@claim(
    paper="as remembered, unverified: GRAN3 and GRAN5 win most battles against GRAN1",
    shows="pictures drawn in five steps are nearer to held-out digits than those of one",
)
def gran(trial: Trial) -> Measured:
    """Train on MNIST with 1, 3 and 5 steps, all else alike: width 32, 50 kimg, bfloat16.

    Reported is 1000 times the KID of 2,000 pictures against test digits, by the features of
    EfficientNet-lite0, and the paper's battle of five steps against one (section 4): each D judges
    the other's pictures, and the ratio of their errors is below 1 when five steps win; the ratio on
    test digits should be near 1. The claim holds when five steps have a lower KID than one.
    """
    data = trial.data("mnist", resolution=32)
    held_out = trial.data("mnist", resolution=32, split="test")
    fidelity = fidelity_of(trial, data, held_out)
    knobs: dict[str, Any] = {"width": 32, "generator_width": 32, "precision": "bf16"}
    runs = {
        steps: trial.train("gran", data, kimg=50, name=f"steps-{steps}", steps=steps, **knobs)
        for steps in STEPS
    }
    kids = {steps: fidelity.kid_of(run.average) for steps, run in runs.items()}
    real = torch.from_numpy(held_out.pictures[: fidelity.count].copy()).permute(0, 3, 1, 2)
    on_samples, on_test = battle(runs[5], runs[1], real.float() / 127.5 - 1.0)
    generator = cast(RecurrentGenerator, runs[5].average)
    with torch.no_grad():
        canvases = generator.canvases(torch.randn(10, generator.noise_dim))
    return Measured(
        {
            "kid_x1000_in_5_steps": kids[5],
            "kid_x1000_in_3_steps": kids[3],
            "kid_x1000_in_1_step": kids[1],
            "kid_x1000_floor": fidelity.floor,
            "battle_ratio_samples": on_samples,
            "battle_ratio_test": on_test,
        },
        holds=kids[5] < kids[1],
        pictures={"the canvas after each step": save_sheet(canvases, trial.out / "gran.png")},
    )


def battle(first: Trained, second: Trained, test: Tensor) -> tuple[float, float]:
    """Let two models judge each other's pictures. 1602.05110, section 4.

    Args:
        first: Model 1.
        second: Model 2.
        test: ``(n, c, r, r)`` held-out pictures in [-1, 1].

    Returns:
        The ratio of the errors of D1 on G2's pictures to those of D2 on G1's, below 1 when the
        first wins; and the ratio of their errors on held-out pictures.
    """
    count = len(test)
    mine, theirs = (drawn_evenly(run.average, count) for run in (first, second))
    ours, other = (cast(Critic, run.networks["discriminator"]) for run in (first, second))
    # A pseudo-count of one picture keeps the ratio finite where nobody errs.
    samples = (_called(ours, theirs, real=True) + 1) / (_called(other, mine, real=True) + 1)
    tested = (_called(ours, test, real=False) + 1) / (_called(other, test, real=False) + 1)
    return samples, tested


@torch.inference_mode()
def _called(critic: Critic, pictures: Tensor, *, real: bool) -> float:
    """How many pictures a critic calls real, or not."""
    logits = torch.cat([critic(chunk).logits for chunk in torch.split(pictures, 100)])
    return float(((logits > 0) == real).sum())
