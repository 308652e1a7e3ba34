"""What a pool does with its workers, whatever they are: here they only do as they are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from server.backends import Batch, Described, Item, WorkerLost
from server.backends.pool import PoolBackend, Worker
from server.backends.worker import Job, Ready
from tests.server.backends.contract import drawn, until


class Hand(Worker[str]):
    """Draws what it is given once `go` is set; can be lost at any time."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.starts = 0
        self.drawing = 0
        self.go = threading.Event()
        self.fault: Exception | None = None
        self.lose: Callable[[], None] = lambda: None

    @property
    def pid(self) -> int:
        return self.starts

    def start(self) -> Ready:
        self.starts += 1
        return Ready(on_cpu=True, pid=self.starts, version="")

    def draw(self, job: Job) -> Batch:
        self.drawing += 1
        self.go.wait(20)
        if self.fault is not None:
            raise self.fault
        return Batch([None] * len(job.items), 0.0, 0.0)

    def watch(self, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        def gone() -> None:
            self.ready = False
            lost()

        self.lose = gone

    def end(self) -> None:
        self.ready = False

    def stop_watching(self) -> None: ...

    def inspect(self, source: str) -> Described:
        raise NotImplementedError

    def load(self, source: str) -> Described:
        raise NotImplementedError

    def unload(self, key: str) -> None: ...


class Hands(PoolBackend[str]):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.hands = [Hand(number) for number in range(count)]

    async def _open(self) -> None:
        self._workers = self.hands

    async def _source(self, model: str) -> str:
        return model


async def test_a_batch_that_is_told_to_be_lost_late_does_not_make_its_worker_free_twice() -> None:
    backend = Hands(1)
    (hand,) = backend.hands
    await backend.load([])
    first = asyncio.create_task(drawn(backend, "m", [Item(None, 1)]))
    await until(lambda: hand.drawing == 1)
    hand.lose()
    await until(lambda: backend.pids == [2])
    hand.fault = WorkerLost("at last")
    hand.go.set()
    with pytest.raises(WorkerLost):
        await first
    hand.fault = None
    hand.go.clear()
    both = [asyncio.create_task(drawn(backend, "m", [Item(None, n)])) for n in range(2)]
    await until(lambda: hand.drawing == 2)
    await asyncio.sleep(0.05)
    assert hand.drawing == 2, "it draws one batch at a time"
    hand.go.set()
    assert [len((await each).outcomes) for each in both] == [1, 1]
    await backend.close()


async def test_closing_waits_for_a_batch_that_runs() -> None:
    backend = Hands(1)
    (hand,) = backend.hands
    await backend.load([])
    running = asyncio.create_task(drawn(backend, "m", [Item(None, 1)]))
    await until(lambda: hand.drawing == 1)
    closing = asyncio.create_task(backend.close())
    await asyncio.sleep(0.05)
    assert hand.ready and not closing.done()
    hand.go.set()
    await closing
    assert len((await running).outcomes) == 1 and not hand.ready
