"""A request in the engine, with what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from server.backends import Drawn, Item
from server.engine.places import Bucket, Place, Priority

__all__ = ["BackendFailed", "Part", "Ticket"]


class BackendFailed(Exception):
    """The backend failed with the batch that a request was in; the cause is attached."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some consecutive pictures of a request that ran in the same batch.

    Attributes:
        start: index of the first of them in the request.
        drawn: the pictures.
        queue_seconds: from the arrival of the request to the start of this batch.
        encode_seconds: what encoding took in this batch.
        generate_seconds: what drawing took in this batch.
        pack_seconds: what packing took in this batch.
    """

    start: int
    drawn: tuple[Drawn, ...]
    queue_seconds: float
    encode_seconds: float
    generate_seconds: float
    pack_seconds: float = 0.0


class Ticket(Place):
    """A place in the queue whose pictures are awaited; iterate over `parts()` to receive them."""

    __slots__ = ("_leave", "_parts", "_received", "items")

    def __init__(
        self,
        bucket: Bucket,
        items: Sequence[Item],
        *,
        caller: str,
        priority: Priority,
        arrived: float,
        deadline: float | None,
        held: int,
        leave: Callable[[Ticket], None],
    ) -> None:
        super().__init__(bucket, len(items), caller, priority, arrived, deadline, held)
        self.items = tuple(items)
        self._leave = leave
        self._received = 0
        self._parts: asyncio.Queue[Part | Exception] = asyncio.Queue()

    async def parts(self) -> AsyncIterator[Part]:
        """Yield the pictures as batches finish; parts may overtake each other.

        Raises:
            DeadlinePassed: the rest could no longer be done in time.
            QueueFull: it had to make room for others.
            BackendFailed: a batch failed.
            T2IError: the condition cannot be drawn by this model.
        """
        while not self.complete:
            part = await self._parts.get()
            if isinstance(part, Exception):
                raise part
            self._received += len(part.drawn)
            yield part
        self.cancel()

    @property
    def complete(self) -> bool:
        """Whether all pictures were received."""
        return self._received == len(self.items)

    def put(self, part: Part | Exception) -> None:
        """Hand over pictures, or why there will be none."""
        self._parts.put_nowait(part)

    def cancel(self) -> None:
        """Free its place at once; of a batch that is at a worker already, it is left out."""
        self._leave(self)
