"""DCGAN: what the discriminator's features are worth, and walks between two noises."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from t2i.networks.base import PictureGenerator
from training.claims.claim import Measured, Trained, Trial, claim
from training.data.pictures import PictureData
from training.metrics.classes import linear_accuracy
from training.metrics.latent import interpolations, write_interpolations

LEARNED, TESTED = 5_000, 5_000


@claim(
    paper="82.8 % on CIFAR-10 by a linear classifier on D's features, D trained on Imagenet-1k; "
    "k-means features reach 80.6 % (table 1)",
    shows="D's features, learned without labels, serve a linear classifier better than those of an "
    "untrained D and than pixels",
)
def dcgan(trial: Trial) -> Measured:
    """Train on MNIST at 16 pixels without labels; fit a linear classifier on D's features.

    The classifier is a logistic regression on 5,000 labelled training digits, tested on 5,000 of
    the test split; the same on the features of the D that was not trained, and on pixels. Features
    are what D's last layer sees. A sheet shows walks between two noises. The claim holds when
    trained features beat both.
    """
    data = trial.data("mnist", resolution=16)
    test = trial.data("mnist", resolution=16, split="test")
    trained = trial.train("dcgan", data, kimg=300, width=32, generator_width=32)
    fresh = trial.train("dcgan", data, kimg=0, name="untrained", width=32, generator_width=32)

    def accuracy(network: nn.Module | None, name: str) -> float:
        parts = [_features(network, each) for each in (data, test)]
        labels = [torch.from_numpy(each.labels[:LEARNED]) for each in (data, test)]
        score = linear_accuracy(parts[0], labels[0], parts[1], labels[1], network=name)
        return 100 * score.value

    found = {
        "features_percent": accuracy(trained.networks["discriminator"], "trained D"),
        "untrained_features_percent": accuracy(fresh.networks["discriminator"], "untrained D"),
        "pixels_percent": accuracy(None, "pixels"),
    }
    first, *others = found.values()
    return Measured(found, holds=first > max(others), pictures={"walks": _walks(trial, trained)})


def _features(network: nn.Module | None, data: PictureData) -> Tensor:
    """Features of the first pictures, ``(n, d)``; pixels without a network."""
    x = torch.from_numpy(data.pictures[:TESTED].copy()).permute(0, 3, 1, 2).float()
    x = x / 127.5 - 1
    if network is None:
        return x.flatten(1)
    with torch.inference_mode():
        features = [network(part).features for part in torch.split(x, 250)]
    return torch.cat(features).clone()


def _walks(trial: Trial, trained: Trained) -> Path:
    generator = trained.average
    assert isinstance(generator, PictureGenerator)
    ends = torch.randn(12, generator.noise_dim, generator=torch.Generator().manual_seed(trial.seed))

    @torch.inference_mode()
    def drawn(noise: Tensor) -> Tensor:
        pictures: Tensor = generator(torch.zeros(len(noise), 0), noise).pictures[-1]
        return pictures

    walks = interpolations(drawn, ends[:6], ends[6:], steps=10)
    return write_interpolations(trial.out / "walks.png", walks, cell=48)
