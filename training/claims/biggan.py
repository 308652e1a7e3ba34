"""BigGAN's truncation trades variety for fidelity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from t2i.conditions import Label
from t2i.pipeline import Pipeline
from training.claims.claim import Measured, Trial, claim
from training.claims.fidelity import fidelity_of
from training.errors import TrainingError
from training.plots import Series, line_chart, save_plot

TRUNCATIONS = (1.0, 0.8, 0.6, 0.4, 0.2)
# A step back of less than this is within the noise of the measure.
TOLERANCE = 0.01


@claim(
    paper="as truncation falls Inception score rises; FID falls a little, then rises (section 3.1)",
    shows="less truncated noise has more variety, more truncated noise more fidelity, step by step",
)
def biggan(trial: Trial) -> Measured:
    """Train on CIFAR-10, then draw by label from the bundle at five truncations.

    Fidelity is precision, variety is recall (Kynkäänniemi et al., 2019) of 1,000 pictures of all
    labels against test pictures, by the features of EfficientNet-lite0. The claim holds when from
    truncation 1 down to 0.2 precision never falls and recall never rises by more than 0.01, and
    both differ between the ends. Width 16, 80 kimg, bfloat16.
    """
    data = trial.data("cifar10")
    trained = trial.train("biggan", data, kimg=80, width=16, generator_width=16, precision="bf16")
    if trained.bundle is None:
        raise TrainingError("bundle: was not written; the pictures are drawn from it")
    pipeline = Pipeline.from_pretrained(trained.bundle, "cpu")
    fidelity = fidelity_of(trial, data, trial.data("cifar10", split="test"), count=1000)
    each = 2 if trial.quick else fidelity.count // len(data.label_names)

    def drawn(truncation: float) -> NDArray[np.uint8]:
        images = [
            image.array
            for number, name in enumerate(data.label_names)
            for image in pipeline.generate(
                Label(name),
                seeds=[number * each + k for k in range(each)],
                truncation=truncation,
            ).images
        ]
        return np.stack(images)

    found = [fidelity.manifold(drawn(truncation)) for truncation in TRUNCATIONS]
    precision, recall = [m.precision for m in found], [m.recall for m in found]
    chart = line_chart(
        [Series("precision", TRUNCATIONS, precision), Series("recall", TRUNCATIONS, recall)],
        title=f"biggan, seed {trial.seed}",
        x_label="truncation",
    )
    path = save_plot(chart, trial.out / "truncation.png")
    rises = all(after >= before - TOLERANCE for before, after in pairwise(precision))
    falls = all(after <= before + TOLERANCE for before, after in pairwise(recall))
    return Measured(
        {
            "precision_gained": precision[-1] - precision[0],
            "recall_lost": recall[0] - recall[-1],
            **{f"precision_at_{t:g}": p for t, p in zip(TRUNCATIONS, precision, strict=True)},
            **{f"recall_at_{t:g}": r for t, r in zip(TRUNCATIONS, recall, strict=True)},
        },
        holds=rises and falls and precision[-1] > precision[0] and recall[-1] < recall[0],
        pictures={"truncation": path},
    )
