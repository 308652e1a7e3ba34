"""AdaGAN covers more modes with each component."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import nn

from t2i.networks.mixture import MixtureGenerator
from training.claims.claim import Measured, Trial, claim
from training.claims.modes import DRAWN, SHOWN, modes_of
from training.plots import Series, line_chart, panels, save_plot, scatter_plot

COMPONENTS, STAGE_KIMG = 5, 300.0


@claim(
    paper="coverage of mixtures of up to 20 Gaussians rises with the components, above that of "
    "one GAN and of bagged ones (section 4)",
    shows="coverage of a grid of 25 Gaussians rises with each component of the mixture",
)
def adagan(trial: Trial) -> Measured:
    """Train five components on the grid of 25 Gaussians, a stage each, and count modes after each.

    A mode is covered when a fifth of its fair share of 10,000 points lands within six standard
    deviations of its centre, as short stages draw broad modes. The claim holds when five components
    cover more than one does and no component takes more than one mode away.
    """
    data = trial.data("grid25")

    def figures(generator: nn.Module) -> Mapping[str, float]:
        assert isinstance(generator, MixtureGenerator)
        modes = modes_of(generator, data, DRAWN // 100 if trial.quick else DRAWN, radius=6.0)
        return {
            "modes_of_25": float(modes.well_covered),
            "high_quality_percent": 100 * modes.good,
            "components": float((generator.weights > 0).sum()),
        }

    trained = trial.train(
        "adagan",
        data,
        kimg=COMPONENTS * STAGE_KIMG,
        watch=figures,
        watch_kimg=STAGE_KIMG / 10,
        components=COMPONENTS,
        stage_kimg=STAGE_KIMG,
    )
    # The last count before the next component joins.
    after = {moment.figures["components"]: moment.figures for moment in trained.moments}
    covered = [after[number]["modes_of_25"] for number in sorted(after)]
    points = trained.draw(SHOWN, seed=1).numpy()
    plots = [
        line_chart(
            [Series("modes", sorted(after), covered)],
            title=f"adagan on grid25, seed {trial.seed}",
            x_label="components",
            y_label="modes of 25",
        ),
        scatter_plot(
            [
                Series("data", data.samples[:SHOWN, 0], data.samples[:SHOWN, 1], colour=6),
                Series("adagan", points[:, 0], points[:, 1], colour=0),
            ],
            limits=(-6.0, 6.0),
        ),
    ]
    best = trained.best("modes_of_25")
    return Measured(
        {
            "modes_of_25": covered[-1],
            "modes_of_25_by_one_component": covered[0],
            "high_quality_percent": trained.moments[-1].figures["high_quality_percent"],
        },
        holds=covered[-1] > covered[0]
        and all(later >= earlier - 1 for earlier, later in itertools.pairwise(covered)),
        pictures={"coverage": save_plot(panels(plots), trial.out / "coverage.png")},
        best={name: best[name] for name in ("modes_of_25", "high_quality_percent")},
    )
