"""A model that draws nothing: what is left of a server is the cost of the service itself.

    python -m benchmarks.timed --port-file port
    python -m benchmarks.timed --port-file port --fixed-ms 4 --each-ms 2
    python -m benchmarks.timed --port-file port --bare

The model, `timed`, takes captions and answers grey pictures. A batch takes as long as the options
say, asleep, so that no core is needed for it; by default no time at all. `--bare` leaves out the
service too: gRPC alone gives answers that lie ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np

from server.backends import Batch, Described, Drawn, Item
from server.backends.drawing import packed
from t2i.pipeline import PipelineInfo

__all__ = ["TimedBackend"]

RESOLUTIONS = (16, 32, 64, 128)
INFO = PipelineInfo(
    name="timed",
    version="1",
    checksum="0" * 64,
    conditions=("text",),
    resolutions=RESOLUTIONS,
    encoder="none",
    embedding_size=1,
    labels=(),
    parameters=0,
)


class TimedBackend:
    """Takes `fixed` and `each` for every picture, and draws grey; one batch at a time.

    Args:
        fixed: seconds a batch.
        each: seconds a picture.
        batch: pictures in a batch.

    Attributes:
        batches: sizes of the batches drawn since it was loaded.
    """

    workers = 1
    copies = 1

    def __init__(self, fixed: float = 0.0, each: float = 0.0, batch: int = 16) -> None:
        self.best_batch = batch
        self.batches: list[int] = []
        self._fixed = fixed
        self._each = each
        self._worker = asyncio.Semaphore(1)
        self._grey = tuple(np.full((side, side, 3), 128, np.uint8) for side in RESOLUTIONS)

    async def inspect(self, model: str) -> Described:
        """Describe the model, which takes no memory."""
        return Described(INFO, 0, "", 0)

    def moved(self, model: str, path: str) -> None:
        """Do nothing: there is no folder."""

    async def unload(self, model: str) -> None:
        """Do nothing: there is nothing to forget."""

    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        """Describe the model."""
        return [Described(INFO, 0, "", 0)]

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        """Take the time of a batch."""
        async with self._worker:
            wanted = begin()
            size = sum(wanted)
            seconds = self._fixed + self._each * size if size else 0.0
            if size:
                self.batches.append(size)
            if seconds:
                await asyncio.sleep(seconds)
            began, grey = time.perf_counter(), Drawn(self._grey)
            outcomes = [
                packed(item, grey) if keep else None
                for item, keep in zip(items, wanted, strict=True)
            ]
            return Batch(outcomes, 0.0, seconds, time.perf_counter() - began)

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Do nothing: it always can draw."""

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
