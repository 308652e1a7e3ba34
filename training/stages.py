"""Recipes that are stages of a larger one, trained in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from training.optimizers import Schedule
from training.recipe import Batch, Losses, Networks, Phase, Recipe, Update


def stage(
    recipe: Recipe,
    name: str,
    *,
    active: Callable[[float], bool],
    parts: Mapping[str, str] | None = None,
) -> tuple[Phase, ...]:
    """Return the phases of a recipe as one stage of a larger recipe.

    Args:
        recipe: The stage by itself.
        name: Put behind the names of its phases and losses.
        active: From kimg to whether the stage learns.
        parts: Where its networks are among those of the larger recipe, by the name that the stage
            knows them by: another name, or a part such as ``generator.first``. What is not named
            is called the same.
    """
    places = {known: known for known in recipe.networks} | dict(parts or {})

    def view(networks: Networks) -> Networks:
        return {known: _found(networks, place) for known, place in places.items()}

    def placed(phase: Phase) -> Phase:
        after = phase.after

        def loss(networks: Networks, batch: Batch) -> Losses:
            found = phase.loss(view(networks), batch)
            return Losses(found.total, {f"{part}-{name}": v for part, v in found.parts.items()})

        def after_step(networks: Networks, update: Update) -> None:
            assert after is not None
            told = {part.removesuffix(f"-{name}"): v for part, v in update.parts.items()}
            after(view(networks), update._replace(parts=told))

        return dataclasses.replace(
            phase,
            player=tuple(places[player].partition(".")[0] for player in phase.players),
            loss=loss,
            after=None if after is None else after_step,
            active=active,
            name=f"{phase.name}-{name}",
        )

    return tuple(placed(phase) for phase in recipe.phases)


def _found(networks: Networks, place: str) -> nn.Module:
    whole, _, part = place.partition(".")
    return networks[whole].get_submodule(part)


def since(start: float, schedule: Schedule) -> Schedule:
    """Return a schedule that counts from ``start`` kimg."""
    return lambda kimg: schedule(max(0.0, kimg - start))


def shown_at(side: int) -> Callable[[Networks, Batch], Batch]:
    """Return what shows players their pictures at a smaller side."""
    return lambda networks, batch: dataclasses.replace(
        batch, pictures=at_side(batch.pictures, side)
    )


def at_side(pictures: Tensor, side: int) -> Tensor:
    """Shrink ``(n, c, r, r)`` to ``(n, c, side, side)`` by averaging; r is a multiple of side."""
    if pictures.shape[-1] == side:
        return pictures
    return F.avg_pool2d(pictures, pictures.shape[-1] // side)
