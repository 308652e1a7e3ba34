"""Shares of a batch, each drawn with weights of its own from a posterior over a generator's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from t2i.networks.bayesian import BayesianGenerator
from training.recipe import Batch, Networks


class Share(NamedTuple):
    """A part of the batch: ``(k, ...)`` real samples, as many fakes, and ``(k, code_dim)``.

    The code tells which weights drew the fakes: it is what they make of the probes.
    """

    real: Tensor
    fake: Tensor
    code: Tensor


@dataclass(frozen=True)
class Posterior:
    """How a batch is drawn with random weights.

    Attributes:
        samples: Weights drawn for a batch.
        probes: Fixed noises that weights are told apart by; 0 gives codes of no length.
    """

    samples: int
    probes: int

    def shares(self, networks: Networks, batch: Batch, name: str) -> list[Share]:
        """Draw a fake for each real sample, each share with weights of its own.

        Args:
            networks: A `BayesianGenerator` among them.
            batch: Gives real samples and noise.
            name: Of the noise.
        """
        generator = cast(BayesianGenerator, networks["generator"])
        noise = batch.noise.normal(name, generator.noise_dim)
        found = []
        for rows in torch.arange(len(noise)).chunk(self.samples):
            real, z = batch.pictures[rows], noise[rows]
            weights = generator.weights()
            fake = generator.with_weights(weights, z[:, :0], z).float()
            code = z[:, :0]
            if self.probes:
                fixed = self._fixed(z)
                answers = generator.with_weights(weights, fixed[:, :0], fixed).float()
                code = answers.reshape(1, -1).expand(len(z), -1)
            found.append(Share(real, fake, code))
        return found

    def _fixed(self, like: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(0)
        return torch.randn(self.probes, like.shape[1], generator=rng).to(like.device)
