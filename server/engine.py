"""The queue between requests and workers: waiting requests run together in batches.

A free worker takes whatever waits, up to `max_batch` pictures of one model, and never waits for
more: with one forward pass a request, waiting for company costs latency and wins no throughput.
Large requests are split. The model whose oldest request has waited longest goes first. A request
that was cancelled or whose deadline has passed while it waited costs no forward pass.

Everything here runs on the event loop; only the backend leaves it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from server.backends import Backend, Batch, Drawn, Item
from t2i.errors import T2IError

__all__ = ["BackendFailed", "DeadlinePassed", "Engine", "Part", "QueueFull", "Ticket"]

# Weight of the newest batch in the running mean of seconds a picture.
_NEWEST = 0.2
_RETRY_SECONDS = (0.1, 30.0)


class QueueFull(Exception):
    """Too many pictures wait already.

    Attributes:
        retry_seconds: when the present queue will probably be done.
    """

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(f"the queue is full for about {retry_seconds:.1f} s")
        self.retry_seconds = retry_seconds


class DeadlinePassed(Exception):
    """The deadline of a request passed while it waited."""


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
    """

    start: int
    drawn: tuple[Drawn, ...]
    queue_seconds: float
    encode_seconds: float
    generate_seconds: float


@dataclass(eq=False, slots=True)
class Ticket:
    """A request in the engine; iterate over `parts()` to receive its pictures."""

    model: str
    items: Sequence[Item]
    arrived: float
    deadline: float | None
    _forget: Callable[[Ticket], None]
    # Items before this index have gone to a worker.
    _dispatched: int = 0
    _parts: asyncio.Queue[Part | Exception] = field(default_factory=asyncio.Queue)

    async def parts(self) -> AsyncIterator[Part]:
        """Yield the pictures as batches finish; parts may overtake each other.

        Raises:
            DeadlinePassed: the deadline passed while pictures waited.
            BackendFailed: a batch failed.
            T2IError: the condition cannot be drawn by this model.
        """
        received = 0
        while received < len(self.items):
            part = await self._parts.get()
            if isinstance(part, Exception):
                raise part
            received += len(part.drawn)
            yield part

    def cancel(self) -> None:
        """Give up the pictures that still wait; those at a worker are drawn and thrown away."""
        self._forget(self)

    @property
    def waiting(self) -> int:
        """How many of its pictures still wait for a worker."""
        return len(self.items) - self._dispatched


class Engine:
    """Runs requests on a backend.

    Args:
        backend: draws the batches.
        max_batch: pictures in one batch; None takes the backend's own choice at the start.
        queue_limit: pictures that may wait before `submit` refuses.
    """

    def __init__(self, backend: Backend, *, max_batch: int | None, queue_limit: int) -> None:
        self._backend = backend
        self._max_batch = max_batch
        self._room = 0
        self._queue_limit = queue_limit
        self._queues: dict[str, deque[Ticket]] = {}
        self._waiting = 0
        self._arrival = asyncio.Event()
        self._seconds_per_picture: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        """Pictures that wait for a worker."""
        return self._waiting

    def start(self) -> None:
        """Start taking batches, one at a time for each worker of the backend."""
        loop = asyncio.get_running_loop()
        self._room = self._max_batch or self._backend.best_batch
        self._tasks = [loop.create_task(self._work()) for _ in range(self._backend.workers)]

    async def close(self) -> None:
        """Stop taking batches; pictures that still wait are never drawn."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    def submit(self, model: str, items: Sequence[Item], *, deadline: float | None = None) -> Ticket:
        """Queue a request.

        Args:
            model: name of a loaded model.
            items: the pictures, at least one.
            deadline: time of the event loop's clock after which nobody wants them.

        Raises:
            QueueFull: the pictures would exceed the queue's limit.
        """
        if self._waiting + len(items) > self._queue_limit:
            raise QueueFull(self._retry_seconds())
        now = asyncio.get_running_loop().time()
        ticket = Ticket(model, tuple(items), now, deadline, self._forget)
        self._queues.setdefault(model, deque()).append(ticket)
        self._waiting += len(items)
        self._arrival.set()
        return ticket

    def _retry_seconds(self) -> float:
        low, high = _RETRY_SECONDS
        if self._seconds_per_picture is None:
            return 1.0
        seconds = self._waiting * self._seconds_per_picture / self._backend.workers
        return min(max(seconds, low), high)

    def _forget(self, ticket: Ticket) -> None:
        self._waiting -= ticket.waiting
        ticket._dispatched = len(ticket.items)

    async def _work(self) -> None:
        while True:
            taken = self._take()
            if taken:
                await self._run(taken)
            else:
                self._arrival.clear()
                await self._arrival.wait()

    def _take(self) -> list[tuple[Ticket, int, int]]:
        """Take the next batch off the queues, as (ticket, first item, one past the last)."""
        now = asyncio.get_running_loop().time()
        for model, queue in list(self._queues.items()):
            self._drop_dead(queue, now)
            if not queue:
                del self._queues[model]
        if not self._queues:
            return []
        queue = min(self._queues.values(), key=lambda waiting: waiting[0].arrived)
        taken: list[tuple[Ticket, int, int]] = []
        room = self._room
        while room and queue:
            ticket = queue[0]
            start = ticket._dispatched
            stop = min(start + room, len(ticket.items))
            taken.append((ticket, start, stop))
            ticket._dispatched = stop
            self._waiting -= stop - start
            room -= stop - start
            self._drop_dead(queue, now)
        return taken

    def _drop_dead(self, queue: deque[Ticket], now: float) -> None:
        """Remove tickets from the head that have nothing left to run, and expired ones."""
        while queue:
            ticket = queue[0]
            if ticket.waiting and ticket.deadline is not None and ticket.deadline <= now:
                self._fail(ticket, DeadlinePassed())
            if ticket.waiting:
                return
            queue.popleft()

    async def _run(self, taken: list[tuple[Ticket, int, int]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        items = [item for ticket, start, stop in taken for item in ticket.items[start:stop]]
        try:
            batch = await self._backend.run(taken[0][0].model, items)
            if len(batch.outcomes) != len(items):
                raise RuntimeError(f"{len(items)} items gave {len(batch.outcomes)} outcomes")
        except Exception as error:
            # Whatever it was, it must not stop this worker: the requests are told, and the
            # service logs the cause with their ids.
            for ticket, _, _ in taken:
                failure = BackendFailed()
                failure.__cause__ = error
                self._fail(ticket, failure)
            return
        self._learn((loop.time() - began) / len(items))
        self._deliver(taken, batch, began)

    def _deliver(self, taken: list[tuple[Ticket, int, int]], batch: Batch, began: float) -> None:
        position = 0
        for ticket, start, stop in taken:
            outcomes = batch.outcomes[position : position + stop - start]
            position += stop - start
            drawn = tuple(outcome for outcome in outcomes if isinstance(outcome, Drawn))
            refused = [outcome for outcome in outcomes if isinstance(outcome, T2IError)]
            if refused:
                self._fail(ticket, refused[0])
                continue
            ticket._parts.put_nowait(
                Part(
                    start,
                    drawn,
                    queue_seconds=began - ticket.arrived,
                    encode_seconds=batch.encode_seconds,
                    generate_seconds=batch.generate_seconds,
                )
            )

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        self._forget(ticket)
        ticket._parts.put_nowait(error)

    def _learn(self, seconds_per_picture: float) -> None:
        known = self._seconds_per_picture
        if known is None:
            self._seconds_per_picture = seconds_per_picture
        else:
            self._seconds_per_picture = known + _NEWEST * (seconds_per_picture - known)
