"""Notices when a run has broken: losses that are no numbers, a discriminator that has won."""

from __future__ import annotations

import math
from collections.abc import Mapping

from training.errors import TrainingError


class Health:
    """Watches the losses of a run.

    Args:
        watched: Names of discriminator losses that are near zero only when it has won.
        floor: Below this such a loss counts as won.
        patience: In kimg; so long must it stay below.
    """

    def __init__(
        self, watched: tuple[str, ...], *, floor: float = 0.02, patience: float = 20.0
    ) -> None:
        self._watched = watched
        self._floor = floor
        self._patience = patience
        self._since: dict[str, float] = {}

    def observe(self, kimg: float, losses: Mapping[str, float]) -> None:
        """Take note of the mean losses since the last call.

        Raises:
            TrainingError: A loss is not finite, or the discriminator has won.
        """
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"loss {name}: became {value} before {kimg:.1f} kimg; the last checkpoint is "
                    "from before. Lower the learning rates, or train in fp32 with --precision no"
                )
        for name in self._watched:
            if losses.get(name, math.inf) >= self._floor:
                self._since.pop(name, None)
                continue
            since = self._since.setdefault(name, kimg)
            if kimg - since >= self._patience:
                raise TrainingError(
                    f"loss {name}: has stayed below {self._floor} from {since:.1f} to {kimg:.1f} "
                    "kimg; the discriminator tells all fakes and the generator learns nothing. "
                    "Lower the discriminator's learning rate or width, or add pictures"
                )
