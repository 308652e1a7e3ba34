"""EBGAN: the pulling-away term pulls codes apart."""

from __future__ import annotations

from typing import Any, cast

import torch

from t2i.networks import Autoencoder
from training.claims.claim import Measured, Trained, Trial, claim
from training.metrics.features import as_bytes
from training.metrics.latent import write_rows
from training.regularizers import pulling_away

COUNT = 500


@claim(
    paper="no figure; the term is there to keep the codes of a batch apart (section 2.4)",
    shows="the pulling-away term lowers the similarity of the codes of drawn digits",
)
def ebgan(trial: Trial) -> Measured:
    """Train on MNIST at 16 pixels with a pulling-away term of weight 0.1 and without.

    Measured is the term itself, the mean squared cosine of the codes of 500 drawn digits in each
    run's own autoencoder, in percent, and beside it that of 500 real test digits. The claim holds
    when the drawn digits' codes are less alike with the term than without.
    """
    data = trial.data("mnist", resolution=16)
    test = trial.data("mnist", resolution=16, split="test")
    count = 20 if trial.quick else COUNT
    shared: dict[str, Any] = {"kimg": 60, "width": 32}
    runs = {
        "with_term": trial.train("ebgan", data, name="with", pulling_away=0.1, **shared),
        "without_term": trial.train("ebgan", data, name="without", pulling_away=0.0, **shared),
    }
    real = torch.from_numpy(test.pictures[:count]).permute(0, 3, 1, 2) / 127.5 - 1.0

    def alike(trained: Trained, pictures: torch.Tensor) -> float:
        judge = cast(Autoencoder, trained.networks["discriminator"])
        with torch.inference_mode():
            return 100.0 * float(pulling_away(judge(pictures).features))

    drawn = {name: trained.draw(count, seed=trial.seed) for name, trained in runs.items()}
    figures = {f"{name}_percent": alike(runs[name], drawn[name]) for name in runs}
    figures |= {f"{name}_on_real_percent": alike(runs[name], real) for name in runs}
    sheet = write_rows(
        trial.out / "drawn.png",
        [list(as_bytes(pictures[:10])) for pictures in drawn.values()],
        titles=["with the pulling-away term", "without"],
        cell=48,
    )
    holds = figures["with_term_percent"] < figures["without_term_percent"]
    return Measured(figures, holds=holds, pictures={"drawn": sheet})
