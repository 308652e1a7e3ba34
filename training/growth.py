"""Players that grow from coarse to fine: how far, when, and what they are shown meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from t2i.networks.progressive import as_grown
from training.recipe import Batch, Networks, Update


def level_of(networks: Networks, player: str) -> Tensor:
    """The buffer that says how far a player has grown, in doublings of the side."""
    return networks[player].get_buffer("level")


def level_at(kimg: float, stage_kimg: float, top: int) -> float:
    """Return how far players have grown after so many kimg: whole doublings plus the fade's α.

    Karras et al., 2018, 1710.10196, section 2: a side is trained for a stage, then the next fades
    in over another.
    """
    stages = max(0.0, kimg / stage_kimg - 1.0)
    grown, within = divmod(stages, 2.0)
    return min(float(top), grown + min(1.0, within))


def growing(stage_kimg: float, top: int, grows: bool = True) -> Callable[[Networks, Update], None]:
    """Return the hook that lets generator and discriminator grow with the run.

    Args:
        stage_kimg: Length of a fade, and of the time that each side trains before the next.
        top: Doublings from the coarsest side to the full one.
        grows: Grow; else the full side from the start.
    """

    def grow(networks: Networks, update: Update) -> None:
        level = level_at(update.kimg, stage_kimg, top) if grows else float(top)
        for player in ("generator", "discriminator"):
            level_of(networks, player).fill_(level)

    return grow


def shown_as_grown(networks: Networks, batch: Batch) -> Batch:
    """Return the batch with pictures no finer than the discriminator has grown."""
    level = float(level_of(networks, "discriminator"))
    return dataclasses.replace(batch, pictures=as_grown(batch.pictures, level))
