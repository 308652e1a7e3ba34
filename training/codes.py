"""Latent codes that a generator is asked with and that a critic's second head reads back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from training.errors import TrainingError
from training.recipe import Batch, one_hot
from training.regularizers import Play, Regularizer


@dataclass(frozen=True)
class LatentCode:
    """Categorical parts, all categories as likely, then numbers, uniform from -1 to 1.

    Attributes:
        categories: Number of categories of each categorical part; 2 or more each.
        continuous: How many numbers.
    """

    categories: tuple[int, ...]
    continuous: int

    def __post_init__(self) -> None:
        """Refuse a code that says nothing."""
        if any(size < 2 for size in self.categories):
            raise TrainingError(f"categories: {self.categories} has a part below 2; give 2 or more")
        if self.continuous < 0 or not self.dim:
            raise TrainingError(
                f"continuous: is {self.continuous} beside {len(self.categories)} categorical "
                "parts; give 0 or more, and one part at least"
            )

    @property
    def dim(self) -> int:
        """Length of the code, categorical parts one-hot."""
        return sum(self.categories) + self.continuous

    @property
    def outputs(self) -> int:
        """What reads it must say: a logit a category, a mean and a log deviation a number."""
        return sum(self.categories) + 2 * self.continuous

    def draw(self, batch: Batch) -> Tensor:
        """Return ``(n, dim)`` codes, a pure function of the batch."""
        noise = batch.noise
        parts = [
            one_hot(noise.integers(f"code-{number}", size), size)
            for number, size in enumerate(self.categories)
        ]
        return torch.cat([*parts, 2.0 * noise.uniform("code", self.continuous) - 1.0], dim=1)

    def surprise(self, read: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return -E log Q(c | x) of the categorical parts and of the numbers, scalars in nats.

        Args:
            read: ``(n, outputs)``: logits, then means, then log deviations.
            code: ``(n, dim)`` the code that each x was drawn with.
        """
        sizes = [*self.categories, self.continuous]
        *logits, mean, log_deviation = torch.split(read, [*sizes, self.continuous], dim=1)
        *chosen, numbers = torch.split(code, sizes, dim=1)
        categorical = read.new_zeros(())
        for said, true in zip(logits, chosen, strict=True):
            categorical = categorical + F.cross_entropy(said, true.argmax(dim=1))
        apart = (numbers - mean) * (-log_deviation).exp()
        gaussian = 0.5 * apart.square() + log_deviation + 0.5 * math.log(2.0 * math.pi)
        return categorical, gaussian.sum(dim=1).mean()

    def examples(self) -> Tensor:
        """Return ``(rows, dim)``: each category of the first part, all else at its middle."""
        first = self.categories[0] if self.categories else 1
        rows = torch.zeros(first, self.dim)
        start = 0
        for number, size in enumerate(self.categories):
            rows[torch.arange(first), start + (torch.arange(first) if number == 0 else 0)] = 1.0
            start += size
        return rows

    def asked_with(self) -> dict[str, object]:
        """Return the entries of a bundle's ``config.json`` that describe the code."""
        parts: list[dict[str, object]] = [
            {"name": f"category {number + 1}", "kind": "categorical", "size": size}
            for number, size in enumerate(self.categories)
        ]
        parts += [
            {"name": f"c{number + 1}", "kind": "continuous", "size": 1, "low": -1.0, "high": 1.0}
            for number in range(self.continuous)
        ]
        return {"conditions": ["code"], "code": parts}


@dataclass(frozen=True)
class ReadCode(Regularizer):
    """The discriminator's part of -λ L_I(G, Q): Q, its second head, reads the code of fakes.

    Chen et al., 2016, 1606.03657, eq. 5 and 6, without the constant entropy of the code.

    Attributes:
        code: What was drawn.
        continuous_weight: λ of the numbers, beside 1 for the categorical parts.
    """

    code: LatentCode = LatentCode((10,), 2)
    continuous_weight: float = 0.1
    name: str = "code"
    reads_classes: ClassVar[bool] = True

    def loss(self, play: Play) -> Tensor:
        """Return the weighted -E log Q(c | G(z, c)), a scalar in nats."""
        read = play.fake_scores.class_logits
        categorical, continuous = self.code.surprise(read, play.condition)
        return categorical + self.continuous_weight * continuous


@dataclass(frozen=True)
class ShowCode(ReadCode):
    """The generator's part of -λ L_I(G, Q), with its gradient through Q into the fakes."""

    name: str = "shown_code"
    player: ClassVar[str] = "generator"
