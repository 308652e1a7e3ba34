"""Draws for a job on the server's own engine, when no interactive call waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from itertools import groupby, islice

from server.backends import Drawn, Item, WorkerLost, model_key
from server.engine import BackendFailed, Engine, Priority, QueueFull
from t2i.batch.errors import JobStopped
from t2i.batch.plan import Model
from t2i.batch.shard import Ask
from t2i.pictures import GeneratedImage
from t2i.seeds import candidate_seeds

__all__ = ["EngineDrawer"]

# Half a dozen of these fill the queue, of which everybody else has a share.
_TOGETHER = 16
_AT_ONCE = 2 * _TOGETHER
_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_MOST_LOSSES = 10


class EngineDrawer:
    """A `t2i.batch.Drawer` for one job; its pictures are those that a call would get.

    Args:
        engine: draws, on the event loop.
        loop: the event loop.
        model: what draws.
        caller: whose share of the workers it takes.
        pay: waits until so many pictures may be drawn for the caller.
        release: lets go of the model, on the event loop.
    """

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        model: Model,
        *,
        caller: str,
        pay: Callable[[int], Awaitable[None]],
        release: Callable[[], None],
    ) -> None:
        self._engine, self._loop = engine, loop
        self._caller, self._pay, self._release = caller, pay, release
        self.model = model
        self.at_once = _AT_ONCE
        self._held = 3 * sum(side * side for side in model.resolutions)
        self._lock = threading.Lock()
        self._closed = False
        self._drawing: set[Future[list[_Picture]]] = set()

    def draw(self, asks: Sequence[Ask]) -> list[_Picture]:
        """Draw pictures, in order; called by the job's threads.

        Raises:
            JobStopped: the job is being stopped.
            T2IError: the model cannot draw.
        """
        with self._lock:
            if self._closed:
                raise JobStopped("the job is being stopped")
            future = asyncio.run_coroutine_threadsafe(self._all(asks), self._loop)
            self._drawing.add(future)
        try:
            return future.result()
        except CancelledError:
            raise JobStopped("the job is being stopped") from None
        finally:
            with self._lock:
                self._drawing.discard(future)

    def close(self) -> None:
        """Give up what is still being drawn; may be called by any thread, and twice."""
        with self._lock:
            self._closed = True
            drawing = list(self._drawing)
        for future in drawing:
            future.cancel()
        self._loop.call_soon_threadsafe(self._release)

    async def _all(self, asks: Sequence[Ask]) -> list[_Picture]:
        items = [item for ask in asks for item in _items(ask)]
        pieces = [
            same[start : start + _TOGETHER]
            # A request of the engine is of one kind.
            for same in (list(each) for _, each in groupby(items, _kind))
            for start in range(0, len(same), _TOGETHER)
        ]
        tasks = [asyncio.create_task(self._piece(piece)) for piece in pieces]
        try:
            drawn = [picture for some in await asyncio.gather(*tasks) for picture in some]
        finally:
            for task in tasks:
                task.cancel()
        candidates = iter(drawn)
        # Of equal scores the first candidate wins, as everywhere.
        return [max(islice(candidates, ask.best_of), key=lambda one: one.merit) for ask in asks]

    async def _piece(self, items: Sequence[Item]) -> list[_Picture]:
        await self._pay(len(items))
        losses = 0
        while True:
            try:
                return await self._ask(items)
            except QueueFull as full:
                # Callers go first, and may even take the place of what waits.
                wait = min(max(_WAIT_SECONDS, full.retry_seconds), _LONGEST_WAIT_SECONDS)
            except BackendFailed as failure:
                losses += 1
                if not isinstance(failure.__cause__, WorkerLost) or losses > _MOST_LOSSES:
                    raise failure.__cause__ or failure from None
                wait = min(_WAIT_SECONDS * 2**losses, _LONGEST_WAIT_SECONDS)
            await asyncio.sleep(wait)

    async def _ask(self, items: Sequence[Item]) -> list[_Picture]:
        ticket = self._engine.submit(
            model_key(self.model),
            items,
            caller=self._caller,
            priority=Priority.BATCH,
            held=self._held * len(items),
        )
        found: dict[int, _Picture] = {}
        try:
            async for part in ticket.parts():
                for index, drawn in enumerate(part.drawn, part.start):
                    found[index] = _Picture(drawn, items[index].seed)
        finally:
            ticket.cancel()
        return [found[index] for index in range(len(items))]


class _Picture:
    def __init__(self, drawn: Drawn, seed: int) -> None:
        # The finest stage alone: the others would wait in memory for nothing.
        self._image = GeneratedImage(drawn.pictures[-1], seed, drawn.score)

    @property
    def seed(self) -> int | None:
        return self._image.seed

    @property
    def score(self) -> float | None:
        return self._image.score

    @property
    def merit(self) -> float:
        return 0.0 if self.score is None else self.score

    def png(self) -> bytes:
        return self._image.encode("png")


def _items(ask: Ask) -> list[Item]:
    """Return the candidates for a picture: one, or several that are scored."""
    return [
        Item(
            ask.condition,
            seed,
            ask.truncation,
            ask.conditioning_truncation,
            scored=ask.best_of > 1,
        )
        for seed in candidate_seeds(ask.seed, ask.best_of)
    ]


def _kind(item: Item) -> tuple[str, bool]:
    return "" if item.condition is None else item.condition.kind, item.scored
