"""InfoGAN's codes find the digits, their slant and their width, without a label."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from training.claims.claim import Measured, Trial, claim
from training.claims.critics import head_of
from training.claims.pictures import Pictures, labels_of, show_rows
from training.claims.trial import Trained
from training.metrics.clusters import cluster_error
from training.metrics.features import as_bytes

CODES, NUMBERS, STEPS = 10, 2, 9


@claim(
    paper="about 5 % error of the categorical code; continuous codes turn and widen (section 7.2)",
    shows="the categorical code finds the digits by itself, continuous ones move slant and width",
)
def infogan(trial: Trial) -> Measured:
    """Read the categorical code of test digits, each code matched to one digit on training data.

    Slant and width of drawn digits are measured by second moments: the mean over all categories and
    ten noises at each end of each continuous code. The claim holds when less than 10 % of test
    digits are misread, one code moves the slant by 0.2 and one the width by 10 %. Half the
    paper's widths, 700 kimg, bfloat16.
    """
    train, test = trial.data("mnist"), trial.data("mnist", split="test")
    trained = trial.train(
        "infogan",
        train,
        kimg=700.0,
        precision="bf16",
        width=32,
        hidden=512,
        categories=(CODES,),
        continuous=NUMBERS,
    )
    critic, some = trained.networks["discriminator"], slice(0, 10_000)
    read, match = (
        head_of(critic, pictures)[:, :CODES].argmax(dim=1).numpy()
        for pictures in (test.pictures, train.pictures[some])
    )
    error = cluster_error(
        read,
        labels_of(test),
        code_count=CODES,
        class_count=len(test.label_names),
        match_codes=match,
        match_labels=labels_of(train)[some],
    )
    ends = [
        moments(along(trained, part, seeds=10, steps=2)).reshape(-1, 2, 2)
        for part in range(NUMBERS)
    ]
    slant, width = np.abs([np.nanmean(each[:, 1] - each[:, 0], axis=0) for each in ends]).max(
        axis=0
    )
    wide = float(np.nanmean(np.concatenate(ends)[..., 1]))
    figures = {
        "error_percent": 100.0 * error.value,
        "slant_moved": float(slant),
        "width_moved_percent": 100.0 * float(width) / max(wide, 1e-6),
    }
    holds = error.value < 0.1 and slant > 0.2 and figures["width_moved_percent"] > 10.0
    sheets = {
        f"c{part + 1}": show_rows(
            trial.out / f"c{part + 1}.png", along(trained, part, seeds=1, steps=STEPS), STEPS
        )
        for part in range(NUMBERS)
    }
    return Measured(figures, holds=bool(holds), pictures=sheets)


def along(trained: Trained, part: int, *, seeds: int, steps: int) -> Pictures:
    """Draw each category along one continuous part, the other at 0, a row a category and noise."""
    rows = CODES * seeds
    code = torch.zeros(rows, steps, CODES + NUMBERS)
    code[torch.arange(rows), :, torch.arange(rows) % CODES] = 1.0
    code[:, :, CODES + part] = torch.linspace(-1.0, 1.0, steps)
    generator = trained.average
    noise_dim = generator.noise_dim
    assert isinstance(noise_dim, int)
    noise = torch.randn(rows, 1, noise_dim, generator=torch.Generator().manual_seed(3))
    noise = noise.expand(-1, steps, -1)
    with torch.inference_mode():
        drawn = generator(code.flatten(0, 1), noise.flatten(0, 1)).pictures[-1]
    return as_bytes(drawn)


def moments(pictures: Pictures) -> NDArray[np.float64]:
    """Return ``(n, 2)``: slant (columns a row, positive to the right upwards) and width in pixels.

    Both are of the ink's second moments; rows without ink are no numbers.
    """
    ink = pictures.astype(np.float64).mean(axis=3)
    y, x = np.mgrid[: ink.shape[1], : ink.shape[2]]
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = ink / ink.sum(axis=(1, 2), keepdims=True)
        dx = x - (weight * x).sum(axis=(1, 2), keepdims=True)
        dy = y - (weight * y).sum(axis=(1, 2), keepdims=True)
        xy, yy = ((weight * each).sum(axis=(1, 2)) for each in (dx * dy, dy * dy))
        slant = -xy / yy
        # The width of what is left when the slant is taken out.
        upright = dx + slant[:, None, None] * dy
        wide = np.sqrt((weight * upright**2).sum(axis=(1, 2)))
    return np.stack([slant, wide], axis=1)
