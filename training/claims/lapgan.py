"""LAPGAN's pictures are as sharp as the data's, more nearly than those of one scale."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from t2i.networks.laplacian import doubled, halved
from training.claims.claim import Measured, Trial, claim
from training.claims.fidelity import drawn_evenly, fidelity_of, operations, save_sheet

KIMG = 40.0


@claim(
    paper="taken for real 40 % of the time, a plain GAN 10 %, by people on CIFAR-10 (abstract)",
    shows="the pyramid's detail is nearer to the data's than that of one scale at equal cost",
)
def lapgan(trial: Trial) -> Measured:
    """Train the pyramid on CIFAR-10 for 40 kimg, and DCGAN for as many operations; bfloat16.

    Sharpness is the energy of what the finest level adds, h = I - u(d(I)), in per cent of that of
    test pictures. Cost is counted in operations of drawing and judging a picture. The claim holds
    when the pyramid's sharpness is nearer to 100 % on a log scale. 1000 times the KID is reported
    beside it, since noise would be sharp as well.
    """
    data, held_out = trial.data("cifar10"), trial.data("cifar10", split="test")
    fidelity = fidelity_of(trial, data, held_out)
    pyramid = trial.train("lapgan", data, kimg=KIMG, precision="bf16")
    narrow: dict[str, Any] = {"width": 32, "generator_width": 32, "precision": "bf16"}
    cost = operations(pyramid.networks)
    # A run of a few pictures tells what one costs, and is not gone on with.
    probe = trial.train("dcgan", data, kimg=0.256, name="probe", **narrow)
    kimg = KIMG * cost / operations(probe.networks)
    single = trial.train("dcgan", data, kimg=round(kimg, 1), **narrow)
    real = torch.from_numpy(held_out.pictures[: fidelity.count].copy()).permute(0, 3, 1, 2)
    wanted = detail_energy(real.float() / 127.5 - 1.0)
    drawn = [drawn_evenly(run.average, fidelity.count) for run in (pyramid, single)]
    sharp = [detail_energy(pictures) / wanted for pictures in drawn]
    off = [abs(math.log(max(share, 1e-6))) for share in sharp]
    return Measured(
        {
            "sharpness_percent": 100 * sharp[0],
            "sharpness_percent_one_scale": 100 * sharp[1],
            "kid_x1000": fidelity.kid_of(pyramid.average),
            "kid_x1000_one_scale": fidelity.kid_of(single.average),
            "kid_x1000_floor": fidelity.floor,
            "kimg_one_scale": kimg,
        },
        holds=off[0] < off[1],
        pictures={
            "pyramid above, one scale below": save_sheet(
                [pictures[:10] for pictures in drawn], trial.out / "lapgan.png"
            )
        },
    )


def detail_energy(pictures: Tensor) -> float:
    """Return the mean square of what the finest level of a pyramid adds to ``(n, c, r, r)``."""
    return float((pictures - doubled(halved(pictures))).square().mean())
