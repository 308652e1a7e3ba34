"""Keeps what critics of several scales were shown and said, to recompute a loss by hand."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from t2i.networks import CaptionCritic, Drawn
from training.recipe import Recipe


class Watched:
    """Keeps what each scale's critic was shown and said, and what was drawn."""

    def __init__(self, recipe: Recipe) -> None:
        self.drawn: list[Drawn] = []
        self.shown: list[list[Tensor]] = []
        self.alone: list[list[Tensor]] = []
        self.paired: list[list[Tensor]] = []
        self.read: list[list[Tensor]] = []
        recipe.networks["generator"].register_forward_hook(
            lambda m, given, out: self.drawn.append(out)
        )
        for critic in recipe.networks["discriminator"].children():
            assert isinstance(critic, CaptionCritic) and critic.score_alone is not None
            for kept, module, place in (
                (self.alone, critic.score_alone, "out"),
                (self.paired, critic.score, "out"),
                (self.shown, critic.trunk, "in"),
                (self.read, critic.read, "in"),
            ):
                kept.append([])
                module.register_forward_hook(keep(kept[-1], place))


def keep(rows: list[Tensor], place: str) -> Any:
    def hook(module: object, given: tuple[Tensor, ...], out: Tensor) -> None:
        kept = given[0] if place == "in" else out.squeeze(1)
        rows.append(kept.detach())

    return hook
