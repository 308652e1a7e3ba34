"""Age-cGAN: searching for the noise keeps who is drawn; shown on birds that grow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.claims.claim import Measured, Trial, claim
from training.claims.pictures import as_input, show_rows
from training.data.birds.attributes import ATTRIBUTE_NAMES, ATTRIBUTES
from training.data.birds.dataset import BirdTruth
from training.data.pictures import PictureData
from training.data.samples import fingerprint_of
from training.latent_search import preserve_identity
from training.metrics.attributes import AttributeClassifier
from training.metrics.birds_judge import SHIPPED
from training.metrics.features import as_bytes
from training.zoo.acgan_age import encode

AGE = "size"


@claim(
    paper="as remembered, unverified: 82.9 % of faces pass for the same person after the search, "
    "53.2 % before",
    shows="pictures drawn after the search resemble the original more than before it",
)
def acgan_age(trial: Trial) -> Measured:
    """Let drawn birds be small, medium or large in place of ages, and their colours who they are.

    The recogniser is the classifier of birds that this package brings: its answers on all other
    attributes, as one vector. Its cosine similarity to held-out originals is taken of what the
    encoder's noise draws, and of what the noise found by the search draws; then of the same birds
    at another size. The claim holds when both rise. Width 16, 100 kimg, bfloat16.
    """
    train = by_size(trial.data("birds:12000", resolution=64))
    test = by_size(trial.data("birds:64", resolution=64, split="val"))
    trained = trial.train("acgan-age", train, kimg=100.0, width=16, noise_dim=64, precision="bf16")
    judge = AttributeClassifier.load(SHIPPED)
    place = list(judge.attributes).index(AGE)

    def recognise(pictures: Tensor) -> Tensor:
        said = judge.network(pictures)
        return torch.cat([s.softmax(dim=1) for k, s in enumerate(said) if k != place], dim=1)

    count = 4 if trial.quick else 64
    originals = as_input(test.pictures[:count])
    assert test.labels is not None
    ages = torch.eye(len(test.label_names))[torch.from_numpy(test.labels[:count])]
    other = ages.roll(1, dims=1)
    with torch.no_grad():
        start = encode(trained.networks, originals)
    found = preserve_identity(
        trained.average, recognise, originals, ages, start, steps=2 if trial.quick else 50
    )

    @torch.inference_mode()
    def drawn(asked: Tensor, noise: Tensor) -> Tensor:
        pictures = trained.average(asked, noise).pictures[-1]
        assert isinstance(pictures, Tensor)
        return pictures

    def alike(asked: Tensor, noise: Tensor) -> float:
        with torch.inference_mode():
            near = F.cosine_similarity(recognise(originals), recognise(drawn(asked, noise)))
        return float(near.mean())

    figures = {
        "similarity": alike(ages, found),
        "similarity_before": alike(ages, start),
        "aged_similarity": alike(other, found),
        "aged_similarity_before": alike(other, start),
    }
    shown = [originals, drawn(ages, start), drawn(ages, found), drawn(other, found)]
    rows = np.concatenate([as_bytes(each[:4]) for each in shown])
    titles = ("original", "by the encoder", "after the search", "at another size")
    holds = (
        figures["similarity"] > figures["similarity_before"]
        and figures["aged_similarity"] > figures["aged_similarity_before"]
    )
    sheet = show_rows(trial.out / "birds.png", rows, 4, titles)
    return Measured(figures, holds=holds, pictures={"birds": sheet})


def by_size(data: PictureData) -> PictureData:
    """Return the birds labelled by their size."""
    assert isinstance(data.truth, BirdTruth)
    labels = data.truth.attributes[:, ATTRIBUTE_NAMES.index(AGE)].astype(np.int64)
    return replace(
        data,
        labels=labels,
        label_names=ATTRIBUTES[AGE],
        fingerprint=fingerprint_of([data.fingerprint, AGE]),
    )
