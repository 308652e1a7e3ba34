"""The engine: hands batches to the backend in time, and their pictures to those who wait.

Everything here runs on the event loop; only the backend leaves it. One batch more than there are
workers is on its way: it is made up shortly before a worker will be free, as late as its conditions
can still be encoded, so that the worker starts on it without waiting for this loop and it holds as
much as there is by then. When the worker starts, what was cancelled or is too late is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from server.backends import Backend, Batch, Drawn, Item
from server.engine.places import (
    Bucket,
    DeadlineOutOfReach,
    DeadlinePassed,
    DeadlineTooShort,
    Place,
    Priority,
    QueueFull,
)
from server.engine.scheduler import Run, Scheduler
from server.engine.tickets import BackendFailed, Part, Ticket
from t2i.errors import T2IError

__all__ = ["QUEUE_BYTES", "Counts", "Engine"]

QUEUE_BYTES = 256 * 1024 * 1024
# Beside what encoding takes: the loop's own delay, and what the prediction is wrong by.
_LEAD_SECONDS = 0.001
# A larger batch is told by the line through this one, and the server ready sooner.
_CALIBRATED = 32


@dataclass(slots=True)
class Counts:
    """What an engine did since it started.

    Attributes:
        batches: handed to the backend and drawn.
        pictures: drawn, wanted or not by the time they were.
        failed: batches that the backend failed with.
        refused: requests refused when they came or that had to make room, by reason.
        late: requests given up because they could no longer be done in time.
        cancelled: requests given up by their callers before all was delivered.
    """

    batches: int = 0
    pictures: int = 0
    failed: int = 0
    late: int = 0
    cancelled: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, error: Exception) -> None:
        """Count a refusal."""
        reason = type(error).__name__
        self.refused[reason] = self.refused.get(reason, 0) + 1


class Engine:
    """Runs requests on a backend.

    Args:
        backend: draws the batches.
        max_batch: pictures in one batch; None takes the backend's own choice at the start.
        queue_limit: pictures that may wait before `submit` refuses.
        queue_bytes: bytes that requests may hold until they are delivered.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_batch: int | None,
        queue_limit: int,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._backend = backend
        self._max_batch = max_batch
        self._queue_limit = queue_limit
        self._queue_bytes = queue_bytes
        self._scheduler = self._new_scheduler(1)
        self._handed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_look: asyncio.Handle | None = None
        self._next_look_at = 0.0
        self._running = False
        self.counts = Counts()

    @property
    def waiting(self) -> int:
        """Pictures that wait for a worker."""
        return self._scheduler.waiting

    @property
    def held_bytes(self) -> int:
        """Bytes that requests hold."""
        return self._scheduler.held_bytes

    def start(self) -> None:
        """Start taking batches."""
        self._scheduler = self._new_scheduler(self._max_batch or self._backend.best_batch)
        self._running = True

    async def close(self) -> None:
        """Stop taking batches; pictures that still wait are never drawn."""
        self._running = False
        if self._next_look is not None:
            self._next_look.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def calibrate(self, model: str, item: Item) -> None:
        """Draw small and full batches of a picture that nobody asked for, to learn their cost.

        Raises:
            T2IError: the picture cannot be drawn.
        """
        loop, bucket = asyncio.get_running_loop(), _bucket(model, [item])
        cost = self._scheduler.cost(bucket)
        for size in (1, min(self._scheduler.room, _CALIBRATED)):
            for warm in (False, True, True):
                wanted = [True] * size
                # A server that runs already must expect that this takes a worker for a while.
                run = self._scheduler.occupy(bucket, size, loop.time())
                try:
                    batch = await self._backend.run(model, [item] * size, wanted.copy)
                finally:
                    self._scheduler.end(run, loop.time())
                for outcome in batch.outcomes:
                    if isinstance(outcome, T2IError):
                        raise outcome
                # The first of a size pays for whatever is made at first use.
                if warm:
                    cost.learn(size, _worker_seconds(batch), loop.time())

    def in_flight(self, model: str) -> int:
        """Return how many requests and batches of a model there are, for which it is needed."""
        return self._scheduler.in_flight(model)

    def forget(self, model: str) -> None:
        """Forget what batches of a model cost, when it will never be asked for again."""
        self._scheduler.forget(model)

    def submit(
        self,
        model: str,
        items: Sequence[Item],
        *,
        deadline: float | None = None,
        caller: str = "",
        priority: Priority = Priority.INTERACTIVE,
        held: int = 0,
    ) -> Ticket:
        """Queue a request.

        Args:
            model: key of a loaded model.
            items: the pictures, at least one, of one kind of condition.
            deadline: time of the event loop's clock after which nobody wants them.
            caller: who asks; callers share the workers evenly.
            priority: batch jobs wait for interactive requests.
            held: bytes that request and pictures occupy until they are delivered.

        Raises:
            QueueFull: pictures or bytes would exceed the queue's limits.
            DeadlineOutOfReach: too much waits for the deadline to be met.
            DeadlineTooShort: the deadline could not be met by an idle server either.
        """
        now = asyncio.get_running_loop().time()
        ticket = Ticket(
            _bucket(model, items),
            items,
            caller=caller,
            priority=priority,
            arrived=now,
            deadline=deadline,
            held=held,
            leave=self._leave,
        )
        try:
            self._scheduler.offer(ticket, now)
        except (QueueFull, DeadlineOutOfReach, DeadlineTooShort) as error:
            self.counts.refuse(error)
            raise
        self._look_at(now)
        return ticket

    def _new_scheduler(self, room: int) -> Scheduler:
        return Scheduler(
            workers=self._backend.workers,
            room=room,
            queue_limit=self._queue_limit,
            byte_limit=self._queue_bytes,
            tell=self._tell,
        )

    def _tell(self, place: Place, error: Exception) -> None:
        """Tell a request that its place is lost."""
        assert isinstance(place, Ticket)
        if isinstance(error, DeadlinePassed):
            self.counts.late += 1
        else:
            self.counts.refuse(error)
        place.put(error)

    def _leave(self, ticket: Ticket) -> None:
        self.counts.cancelled += not (ticket.given_up or ticket.complete)
        self._scheduler.leave(ticket)

    def _look_at(self, when: float) -> None:
        """Look for work at a time, unless that is planned already."""
        if not self._running or (self._next_look is not None and self._next_look_at <= when):
            return
        if self._next_look is not None:
            self._next_look.cancel()
        loop = asyncio.get_running_loop()
        self._next_look_at = when
        if when <= loop.time():
            self._next_look = loop.call_soon(self._look)
        else:
            self._next_look = loop.call_at(when, self._look)

    def _look(self) -> None:
        """Hand over what the backend should have now, and plan the next look."""
        self._next_look = None
        loop = asyncio.get_running_loop()
        now, scheduler = loop.time(), self._scheduler
        scheduler.forget_late(now)
        while self._handed <= self._backend.workers and scheduler.queued:
            if self._handed == self._backend.workers:
                # A full batch gains nothing by waiting; one that is not may still grow.
                full = scheduler.queued >= scheduler.room
                lead = scheduler.before.upper if full else scheduler.before.mean
                in_time = scheduler.free_at(now) - lead - _LEAD_SECONDS
                if in_time > now:
                    self._look_at(in_time)
                    break
            run = scheduler.take(now)
            if run is None:
                break
            self._handed += 1
            task = loop.create_task(self._run(run))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        late = scheduler.next_late()
        if late is not None and scheduler.queued:
            self._look_at(max(late, now + _LEAD_SECONDS))

    async def _run(self, run: Run) -> None:
        loop = asyncio.get_running_loop()
        tickets = [(_ticket(share.place), share.start, share.stop) for share in run.shares]
        items = [item for ticket, start, stop in tickets for item in ticket.items[start:stop]]
        start = _Start(loop.time, lambda now: self._scheduler.begin(run, now), run)
        drawn, seconds = 0, 0.0
        try:
            batch = await self._backend.run(run.bucket.model, items, start)
            if len(batch.outcomes) != len(items):
                raise RuntimeError(f"{len(items)} items gave {len(batch.outcomes)} outcomes")
        except Exception as error:
            # Whatever it was, it must not stop this worker: the requests are told, and the
            # service logs the cause with their ids.
            self.counts.failed += 1
            for ticket, _, _ in tickets:
                failure = BackendFailed()
                failure.__cause__ = error
                self._fail(ticket, failure)
        else:
            drawn = sum(isinstance(outcome, Drawn) for outcome in batch.outcomes)
            seconds = _worker_seconds(batch)
            self.counts.batches += drawn > 0
            self.counts.pictures += drawn
            self._scheduler.before.learn(batch.encode_seconds)
            if drawn:
                self._scheduler.after.learn(max(0.0, loop.time() - start.at - seconds))
            self._deliver(tickets, batch, start.at)
        finally:
            self._handed -= 1
            now = loop.time()
            self._scheduler.end(run, now, pictures=drawn, seconds=seconds)
            if self._scheduler.queued:
                self._look_at(now)

    def _deliver(
        self, tickets: Sequence[tuple[Ticket, int, int]], batch: Batch, began: float
    ) -> None:
        position = 0
        for ticket, start, stop in tickets:
            outcomes = batch.outcomes[position : position + stop - start]
            position += stop - start
            if ticket.given_up:
                continue
            refused = [outcome for outcome in outcomes if isinstance(outcome, T2IError)]
            drawn = tuple(outcome for outcome in outcomes if isinstance(outcome, Drawn))
            if refused:
                self._fail(ticket, refused[0])
            elif len(drawn) < len(outcomes):
                self.counts.late += 1
                self._fail(ticket, DeadlinePassed())
            else:
                ticket.put(
                    Part(
                        start,
                        drawn,
                        queue_seconds=began - ticket.arrived,
                        encode_seconds=batch.encode_seconds,
                        generate_seconds=batch.generate_seconds,
                        pack_seconds=batch.pack_seconds,
                    )
                )

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        self._scheduler.leave(ticket)
        ticket.put(error)


class _Start:
    """What a backend calls when a worker starts on a batch: which items are still wanted?"""

    def __init__(
        self, clock: Callable[[], float], begin: Callable[[float], list[bool]], run: Run
    ) -> None:
        self._clock, self._begin, self._run = clock, begin, run
        self.at = clock()

    def __call__(self) -> list[bool]:
        self.at = self._clock()
        wanted = self._begin(self.at)
        return [
            keep
            for keep, share in zip(wanted, self._run.shares, strict=True)
            for _ in range(share.size)
        ]


def _bucket(model: str, items: Sequence[Item]) -> Bucket:
    first = items[0]
    # What is judged or looked into beside being drawn takes longer, and is told apart.
    asked: list[str] = ["" if first.condition is None else first.condition.kind]
    asked += ["scored"] * first.scored + ["attention"] * first.attention
    return Bucket(model, "+".join(asked))


def _worker_seconds(batch: Batch) -> float:
    """Return how long a batch kept its worker."""
    return batch.generate_seconds + batch.pack_seconds


def _ticket(place: Place) -> Ticket:
    assert isinstance(place, Ticket)
    return place
