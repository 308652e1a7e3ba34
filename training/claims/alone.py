"""One player that learns while the others stand still: what a critic can tell of fixed samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from t2i.networks.base import PictureGenerator
from training.prepare import Data
from training.recipe import Batch, Losses, Recipe, Update
from training.stream import SampleStream

CPU = torch.device("cpu")


class Fixed(PictureGenerator):
    """Draws what a function makes of the noise, and learns nothing.

    Args:
        make: From ``(n, noise_dim)`` noise to samples.
        noise_dim: Length of the noise.
    """

    def __init__(self, make: Callable[[Tensor], Tensor], *, noise_dim: int) -> None:
        super().__init__(condition_dim=0, noise_dim=noise_dim, resolutions=(), config={})
        self._make = make

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map ``(n, noise_dim)`` noise to samples."""
        return self._make(noise)


def against(recipe: Recipe, make: Callable[[Tensor], Tensor]) -> Recipe:
    """Return the recipe with a generator that always draws what ``make`` makes of the noise."""
    own = recipe.networks["generator"]
    assert isinstance(own, PictureGenerator)
    fixed = Fixed(make, noise_dim=own.noise_dim)
    return dataclasses.replace(recipe, networks={**recipe.networks, "generator": fixed})


def learn_alone(
    recipe: Recipe,
    data: Data,
    *,
    steps: int,
    seed: int,
    player: str = "discriminator",
    advance: Callable[..., None] | None = None,
) -> None:
    """Let one player take its steps while the others stand still.

    Args:
        recipe: Its phase of that name is played.
        data: What to learn from.
        steps: How many.
        seed: Of data and noise.
        player: Name of the phase.
        advance: Called with 1 after each step.
    """
    phase = next(phase for phase in recipe.phases if phase.name == player)
    for name, network in recipe.networks.items():
        network.requires_grad_(name in phase.players)
    weights = [w for name in phase.players for w in recipe.networks[name].parameters()]
    optimizer = phase.optimizer.build(weights)
    stream = SampleStream(data, seed=seed)
    for number in range(steps):
        batch = batch_of(stream, recipe, number)
        optimizer.zero_grad()
        losses = phase.loss(recipe.networks, batch)
        torch.autograd.backward(losses.total)
        optimizer.step()
        if phase.after is not None:
            with torch.no_grad():
                phase.after(recipe.networks, Update(batch.kimg, number, losses.parts))
        if advance is not None:
            advance(1)


def losses_of(
    recipe: Recipe, data: Data, *, seed: int, batches: int, player: str = "discriminator"
) -> list[Losses]:
    """Return a player's losses on batches of their own, without gradients."""
    phase = next(phase for phase in recipe.phases if phase.name == player)
    stream = SampleStream(data, seed=seed)
    with torch.no_grad():
        return [
            phase.loss(recipe.networks, batch_of(stream, recipe, number))
            for number in range(batches)
        ]


def batch_of(stream: SampleStream, recipe: Recipe, number: int) -> Batch:
    """Return one whole batch of a stream."""
    return stream.batches(number, recipe.batch_size, 1, CPU)[0]
