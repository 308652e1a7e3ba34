"""Draws in processes: one that dies takes its batch with it and nothing else.

They also do not share an interpreter: small networks spend a good part of their time in Python,
where threads wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import cast

from server.backends import Batch, Described, WorkerLost
from server.backends.pool import END_SECONDS, PoolBackend, Worker, core_count
from server.backends.worker import Inspect, Job, Load, Order, Ready, Unload, work

__all__ = ["ProcessBackend"]


class ProcessBackend(PoolBackend[str]):
    """Draws in worker processes, and starts those again that die.

    Args:
        workers: processes; each draws one batch at a time. None for one a core.
        device: torch device; None lets the pipelines choose.
        cores: cores that each may keep busy on a CPU.
    """

    def __init__(self, *, workers: int | None, device: str | None, cores: int = 1) -> None:
        super().__init__()
        count = workers or core_count()
        self._workers = [_Process(number, device, cores) for number in range(count)]

    async def _source(self, model: str) -> str:
        return model


class _Process(Worker[str]):
    """One process and the pipes to it."""

    def __init__(self, number: int, device: str | None, cores: int) -> None:
        super().__init__(number)
        self._device = device
        self._cores = cores
        self._ordering = threading.Lock()
        self._process: SpawnProcess | None = None
        self._watched: asyncio.AbstractEventLoop | None = None

    @property
    def pid(self) -> int:
        return -1 if self._process is None else self._process.pid or -1

    def start(self) -> Ready:
        context = multiprocessing.get_context("spawn")
        # An order that waits for its turn still belongs to the process before this one.
        with self._ordering:
            self._connection, batches = context.Pipe()
            self._orders, orders = context.Pipe()
            self.keys = set()
            self._process = context.Process(
                target=work,
                args=(batches, orders, self._device, self._cores),
                name=f"t2i-worker-{self.number}",
                daemon=True,
            )
            self._process.start()
            batches.close()
            orders.close()
            ready = self._receive(self._orders)
        assert isinstance(ready, Ready)
        return ready

    def inspect(self, source: str) -> Described:
        return cast("Described", self._order(Inspect(source)))

    def load(self, source: str) -> Described:
        return cast("Described", self._order(Load(source)))

    def unload(self, key: str) -> None:
        self._order(Unload(key))

    def _order(self, order: Order) -> object:
        with self._ordering:
            try:
                self._orders.send(order)
                return self._receive(self._orders)
            except OSError as error:
                raise self._gone() from error

    def draw(self, job: Job) -> Batch:
        try:
            self._connection.send(job)
            batch = self._receive(self._connection)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._gone() from error
        assert isinstance(batch, Batch)
        return batch

    def watch(self, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        assert self._process is not None
        self._watched = loop

        def ended() -> None:
            self.stop_watching()
            self.ready = False
            lost()

        loop.add_reader(self._process.sentinel, ended)

    def stop_watching(self) -> None:
        if self._watched is not None and self._process is not None:
            self._watched.remove_reader(self._process.sentinel)
            self._watched = None

    def end(self) -> None:
        if self._process is None:
            return
        if self.ready:
            self.ready = False
            with contextlib.suppress(OSError):
                self._connection.send(None)
            self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()
        self._orders.close()

    def _receive(self, connection: Connection) -> object:
        try:
            answer = connection.recv()
        except (EOFError, ConnectionResetError, OSError) as error:
            raise self._gone() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _gone(self) -> WorkerLost:
        self.ready = False
        return WorkerLost(f"worker {self.number} (process {self.pid}) ended")
