"""CS-GAN translates better than the likelihood that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from t2i.networks.translation import Translator
from training.claims.claim import Measured, Trial, claim
from training.data.parallel import ParallelData
from training.metrics.words import bleu
from training.plots import Series, line_chart, save_plot

# The corpus is learned soon: a longer start would leave nothing to rise to.
PRETRAIN, CRITIC, KIMG, EVERY = 16.0, 4.0, 28.0, 2.0


@claim(
    paper="BLEU, English to German: 21.20 to 22.89 with RNNSearch, 27.30 to 27.92 with the "
    "Transformer",
    shows="BLEU on held-out sentences rises over the maximum-likelihood start",
)
def cs_gan(trial: Trial) -> Measured:
    """Translate held-out sentences with the likeliest words, before and after adversarial training.

    A run by likelihood alone, as long in all, tells what the time by itself would have brought. The
    claim holds when BLEU at the end is above that at the start of the policy gradient.
    """
    train, test = trial.data("parallel-text"), trial.data("parallel-text", split="test")

    def figures(generator: nn.Module) -> Mapping[str, float]:
        return {"bleu_percent": bleu_percent(cast(Translator, generator), test)}

    start, lead = (0.0, 0.0) if trial.quick else (PRETRAIN, CRITIC)
    run, control = (
        trial.train(
            "cs-gan",
            train,
            kimg=KIMG,
            name=name,
            watch=figures,
            watch_kimg=EVERY,
            pretrain_kimg=begin,
            critic_kimg=lead,
            rollouts=2 if trial.quick else 4,
        )
        for name, begin in (("cs-gan", start), ("likelihood", 10.0 * KIMG))
    )
    before = [m for m in run.moments if m.kimg <= start + lead] or list(run.moments[:1])
    measured = {
        "bleu_percent": run.moments[-1].figures["bleu_percent"],
        "start_bleu_percent": before[-1].figures["bleu_percent"],
        "likelihood_bleu_percent": control.moments[-1].figures["bleu_percent"],
    }
    chart = line_chart(
        [
            Series(
                name,
                [moment.kimg for moment in each.moments],
                [moment.figures["bleu_percent"] for moment in each.moments],
                dashed=each is control,
            )
            for name, each in (("cs-gan", run), ("likelihood alone", control))
        ],
        title=f"held-out BLEU, seed {trial.seed}",
        x_label="thousands of sentences",
    )
    return Measured(
        measured,
        holds=measured["bleu_percent"] > measured["start_bleu_percent"],
        pictures={"bleu": save_plot(chart, trial.out / "bleu.png")},
        best=run.best("bleu_percent"),
    )


@torch.inference_mode()
def bleu_percent(translator: Translator, data: ParallelData, batch: int = 200) -> float:
    """Return BLEU-4 of the likeliest translations of all sources, in percent."""
    assert data.sources is not None
    parts = torch.split(torch.from_numpy(data.sources), batch)
    written = torch.cat([translator.write(translator.read(part)) for part in parts]).numpy()
    mine, true = data.decode(written), data.decode(data.samples)
    found = bleu([each.split() for each in mine], [[each.split()] for each in true])
    return 100.0 * found.value
