"""Keeps what a critic with two heads said, to recompute a loss by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from t2i.networks.base import Scores
from training.recipe import Recipe


class Told:
    """Logits and class logits of each call of the discriminator, in order."""

    def __init__(self, recipe: Recipe) -> None:
        self.moves: list[tuple[Tensor, Tensor]] = []
        recipe.networks["discriminator"].register_forward_hook(self._keep)

    @property
    def classes(self) -> list[Tensor]:
        """``(n, outputs)`` of each call."""
        return [classes for _, classes in self.moves]

    def _keep(self, module: torch.nn.Module, inputs: object, output: Scores) -> None:
        self.moves.append((output.logits.detach(), output.class_logits.detach()))
