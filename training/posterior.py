"""A posterior over a generator's weights: what it draws, and both players' losses (1702.08896)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from t2i.networks.base import Scores
from t2i.networks.bayesian import BayesianGenerator
from training.errors import TrainingError
from training.objectives import non_saturating
from training.recipe import Batch, Losses, Networks


class Share(NamedTuple):
    """A part of the batch: ``(k, ...)`` real samples, as many fakes, and ``(k, code_dim)``.

    The code tells which weights drew the fakes: it is what they make of the probes.
    """

    real: Tensor
    fake: Tensor
    code: Tensor


@dataclass(frozen=True)
class Posterior:
    """Learned so that what random weights draw is what the data is (eq. 4 and 5).

    Attributes:
        samples: Weights drawn for a batch.
        prior: Deviation of each weight before anything is seen.
        size: Samples in the data.
        probes: Fixed noises that weights are told apart by; 0 gives codes of no length.
    """

    samples: int
    prior: float
    size: int
    probes: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no posterior.

        Raises:
            TrainingError: A number is out of range.
        """
        if self.samples < 1 or self.prior <= 0 or self.probes < 0:
            given = f"{self.samples}, {self.prior}, {self.probes}"
            raise TrainingError(
                f"samples, prior, probes: are {given}; give more than 0, and probes 0 or more"
            )

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """The log score by which D's logit becomes log q(x) - log p(x | β)."""
        with torch.no_grad():
            parts = self.shares(networks, batch, "discriminator")
        code = torch.cat([part.code for part in parts])
        real = _judged(networks, torch.cat([part.real for part in parts]), code)
        fake = _judged(networks, torch.cat([part.fake for part in parts]), code)
        loss = non_saturating.discriminator_loss(real, fake)
        return Losses(loss, {"D/adversarial": loss.detach()})

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Minus the evidence bound: the divergence from the prior, less the likelihood ratio."""
        parts = self.shares(networks, batch, "generator")
        if self.probes:
            each = [-_judged(networks, part.real, part.code).mean() for part in parts]
        else:
            minus = [_judged(networks, part.fake, part.code) for part in parts]
            each = [torch.logsumexp(of, dim=0) - math.log(len(of)) for of in minus]
        likelihood = torch.stack(each).mean()
        generator = cast(BayesianGenerator, networks["generator"])
        kl = generator.divergence(self.prior) / max(self.size, 1)
        shown = {"G/likelihood": likelihood.detach(), "G/divergence": kl.detach()}
        return Losses(kl - likelihood, shown)

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


def _judged(networks: Networks, samples: Tensor, code: Tensor) -> Tensor:
    return cast(Scores, networks["discriminator"](samples, code)).logits
