"""What the loss tests of papers share: phases evaluated on a batch of known samples."""

from __future__ import annotations

import torch
from torch import Tensor

from t2i.networks.base import Scores
from training.recipe import Batch, Losses, Recipe, RowNoise

CPU = torch.device("cpu")


def batch_of(samples: Tensor, labels: Tensor | None = None, step: int = 0) -> Batch:
    n = len(samples)
    return Batch(samples, RowNoise(0, step, n, slice(0, n), CPU), 0.0, step, labels)


def losses_of(recipe: Recipe, batch: Batch) -> dict[str, Losses]:
    """Losses of each phase, with gradients in its player alone."""
    found = {}
    for phase in recipe.phases:
        for name, network in recipe.networks.items():
            network.zero_grad()
            network.requires_grad_(name in phase.players)
        found[phase.name] = phase.loss(recipe.networks, batch)
        assert not any(part.requires_grad for part in found[phase.name].parts.values())
        found[phase.name].total.backward()  # type: ignore[no-untyped-call]
        for name, network in recipe.networks.items():
            grads = [w.grad for w in network.parameters() if w.grad is not None]
            assert (name in phase.players) == any(bool(g.abs().sum() > 0) for g in grads)
    return found


class Scored:
    """Keeps what the critic said, to recompute a loss by hand."""

    def __init__(self, recipe: Recipe) -> None:
        self.logits: list[Tensor] = []
        recipe.networks["discriminator"].register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: object, output: Scores) -> None:
        self.logits.append(output.logits.detach())
