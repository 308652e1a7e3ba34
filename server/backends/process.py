"""Draws in processes: one that dies takes its batch with it and nothing else.

Each worker holds the models and one share of the cores. They also do not share an interpreter:
small networks spend a good part of their time in Python, where threads wait for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from server.backends import CPU_BATCH, GPU_BATCH, Batch, Drawn, Item, WorkerLost
from server.backends.worker import Job, Loaded, work
from t2i.errors import T2IError

if TYPE_CHECKING:
    from t2i.pipeline import PipelineInfo

__all__ = ["ProcessBackend"]

_log = logging.getLogger("t2i.server")

# Pauses before a dead worker is started again; they double while it keeps dying.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_END_SECONDS = 5.0


class ProcessBackend:
    """Draws in worker processes, and starts those again that die.

    Args:
        workers: processes; each draws one batch at a time. None for one a core.
        device: torch device; None lets the pipelines choose.
        cores: cores that each may keep busy on a CPU.
    """

    def __init__(self, *, workers: int | None, device: str | None, cores: int = 1) -> None:
        self._device = device
        self._cores = cores
        self._best_batch = GPU_BATCH
        self._models: tuple[str, ...] = ()
        count = workers or _core_count()
        self._workers = [_Worker(number) for number in range(count)]
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._watchers: list[Callable[[bool], None]] = []
        self._restarts: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def workers(self) -> int:
        """How many batches may run at once."""
        return len(self._workers)

    @property
    def best_batch(self) -> int:
        """How many pictures share a forward pass; on a GPU more than on a core."""
        return self._best_batch

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are ready."""
        return [worker.pid for worker in self._workers if worker.ready]

    @property
    def busy(self) -> int:
        """How many workers draw a batch."""
        return sum(worker.busy for worker in self._workers)

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Have it told, on the event loop, whenever the last worker is lost or one is back."""
        self._watchers.append(changed)

    async def load(self, models: Sequence[str]) -> Sequence[PipelineInfo]:
        """Start the workers, let each load and warm up the models; describe them in that order.

        Raises:
            T2IError: a model cannot be loaded.
            WorkerLost: a worker ended while it loaded.
        """
        self._models = tuple(models)
        try:
            loaded = await asyncio.gather(*(self._start(worker) for worker in self._workers))
        except BaseException:
            await self.close()
            raise
        if all(each.on_cpu for each in loaded):
            self._best_batch = CPU_BATCH
        return loaded[0].infos

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        """Draw items in the next worker that is free.

        Raises:
            WorkerLost: it died of it, or meanwhile.
        """
        worker = await self._next_free()
        wanted = begin()
        asked = [item for item, flag in zip(items, wanted, strict=True) if flag]
        if not asked:
            self._free.put_nowait(worker)
            return Batch([None] * len(items), 0.0, 0.0)
        loop = asyncio.get_running_loop()
        drawing = loop.run_in_executor(self._executor, worker.ask, Job(model, asked))
        # A batch that is given up is drawn to its end: the worker is free after that, not before.
        drawing.add_done_callback(lambda done: self._freed(worker, done))
        batch = await asyncio.shield(drawing)
        drawn = iter(batch.outcomes)
        outcomes: list[Drawn | T2IError | None] = [next(drawn) if flag else None for flag in wanted]
        return Batch(outcomes, batch.encode_seconds, batch.generate_seconds)

    async def close(self) -> None:
        """End the workers; batches that run are waited for, models that load are not."""
        self._closing = True
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)
        for worker in self._workers:
            worker.stop_watching()
        await asyncio.gather(*(asyncio.to_thread(worker.end) for worker in self._workers))
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _next_free(self) -> _Worker:
        while True:
            worker = await self._free.get()
            if worker.ready:
                return worker

    def _freed(self, worker: _Worker, drawing: asyncio.Future[Batch]) -> None:
        if not drawing.cancelled():
            # Whoever asked has seen it, or is gone.
            drawing.exception()
        if worker.ready:
            self._free.put_nowait(worker)

    async def _start(self, worker: _Worker) -> Loaded:
        loaded = await asyncio.to_thread(worker.start, self._models, self._device, self._cores)
        loop = asyncio.get_running_loop()
        worker.watch(loop, lambda: self._lost(worker))
        self._free.put_nowait(worker)
        if sum(each.ready for each in self._workers) == 1:
            self._tell(serving=True)
        return loaded

    def _lost(self, worker: _Worker) -> None:
        if self._closing:
            return
        _log.error("worker %d (process %d) ended by itself", worker.number, worker.pid)
        if not any(each.ready for each in self._workers):
            self._tell(serving=False)
        task = asyncio.get_running_loop().create_task(self._restart(worker))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, worker: _Worker) -> None:
        while True:
            await asyncio.sleep(worker.pause)
            worker.pause = min(2 * worker.pause, _LONGEST_PAUSE)
            try:
                await self._start(worker)
            except (T2IError, WorkerLost, OSError) as error:
                _log.error("worker %d cannot be started: %s", worker.number, error)
            else:
                _log.info("worker %d is back (process %d)", worker.number, worker.pid)
                return

    def _tell(self, *, serving: bool) -> None:
        for changed in self._watchers:
            changed(serving)


def _core_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """One process and the pipe to it. `ask` and `start` block and are called in threads."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pause = _FIRST_PAUSE
        self.ready = False
        self.busy = False
        self._process: SpawnProcess | None = None
        self._watched: asyncio.AbstractEventLoop | None = None

    @property
    def pid(self) -> int:
        return -1 if self._process is None else self._process.pid or -1

    def start(self, models: Sequence[str], device: str | None, cores: int) -> Loaded:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=work,
            args=(theirs, models, device, cores),
            name=f"t2i-worker-{self.number}",
            daemon=True,
        )
        self._process.start()
        theirs.close()
        loaded = self._receive()
        assert isinstance(loaded, Loaded)
        self.ready = True
        return loaded

    def ask(self, job: Job) -> Batch:
        self.busy = True
        try:
            self._connection.send(job)
            batch = self._receive()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._gone() from error
        finally:
            self.busy = False
        assert isinstance(batch, Batch)
        self.pause = _FIRST_PAUSE
        return batch

    def watch(self, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        """Call `lost` on the loop when the process ends."""
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
        """End the process; what it draws it draws to its end, within reason."""
        if self._process is None:
            return
        if self.ready:
            self.ready = False
            with contextlib.suppress(OSError):
                self._connection.send(None)
            self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _receive(self) -> object:
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError, OSError) as error:
            raise self._gone() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _gone(self) -> WorkerLost:
        self.ready = False
        return WorkerLost(f"worker {self.number} (process {self.pid}) ended")
