"""Geometric GAN covers a mixture on which minimax collapses."""

from __future__ import annotations

from training.claims.claim import Measured, Trial, claim
from training.claims.modes import train_and_count


@claim(
    paper="no figure; drawn points on mixtures of Gaussians are shown",
    shows="the hinge loss covers more of the 25 modes than the same networks under minimax",
)
def geometric_gan(trial: Trial) -> Measured:
    """Train on the grid of 25 Gaussians, and the first GAN's minimax loss on it as long.

    Both have linear layers of 128, batches of 256 and as many steps. A mode is covered when at
    least a fifth of its fair share of 10,000 drawn points lands within three standard deviations of
    its centre. The claim holds when the hinge loss covers 20 or more, and more than minimax.
    """
    here = train_and_count(
        trial, "geometric-gan", "grid25", kimg=4000, needed=20, batch_size=256, learning_rate=1e-3
    )
    other = train_and_count(
        trial,
        "gan",
        "grid25",
        kimg=4000,
        needed=20,
        saturating=True,
        maxout=0,
        width=128,
        batch_size=256,
        learning_rate=1e-3,
    )
    covered, minimax = (each.figures["modes_of_25"] for each in (here, other))
    return Measured(
        {**here.figures, "minimax_modes_of_25": minimax},
        holds=here.holds and covered > minimax,
        pictures={**here.pictures, "minimax": other.pictures["points"]},
        best={**here.best, "minimax_modes_of_25": other.best["modes_of_25"]},
    )
