"""Draws in processes: one that dies takes its batch with it and nothing else.

Each worker holds all loaded models and has one share of the cores. They also do not share an
interpreter: small networks spend a good part of their time in Python, where threads wait for each
other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, cast

from server.backends import (
    CPU_BATCH,
    GPU_BATCH,
    Batch,
    Described,
    Drawn,
    Item,
    WorkerLost,
    model_key,
)
from server.backends.worker import Inspect, Job, Load, Order, Ready, Unload, work
from t2i.errors import BundleError, T2IError

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
        # What every worker should hold: the folder or name of each by its key.
        self._models: dict[str, str] = {}
        self._begun: asyncio.Task[None] | None = None
        count = workers or _core_count()
        self._workers = [_Worker(number) for number in range(count)]
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._orders = ThreadPoolExecutor(count, thread_name_prefix="order")
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

    @property
    def copies(self) -> int:
        """One in each worker."""
        return len(self._workers)

    async def inspect(self, model: str) -> Described:
        """Let a worker check every file of a bundle and describe it.

        Raises:
            T2IError: there is no such bundle, or it is damaged.
            WorkerLost: there was no worker to do it.
        """
        await self._begin()
        worker = next((each for each in self._workers if each.ready), None)
        if worker is None:
            raise WorkerLost("no worker is there to look at the bundle")
        described = await self._order(worker, Inspect(model))
        assert isinstance(described, Described)
        return described

    async def load(self, models: Sequence[str]) -> Sequence[PipelineInfo]:
        """Let every worker load and warm up models; describe them in the same order.

        The first time, the workers are started for it. They go on drawing with what they have.

        Raises:
            T2IError: a model cannot be loaded.
            WorkerLost: a worker ended while it loaded, and none was left.
        """
        await self._begin()
        return [await self._load(model) for model in models]

    async def unload(self, model: str) -> None:
        """Let every worker forget a model."""
        self._models.pop(model, None)
        holding = [worker for worker in self._workers if worker.ready and model in worker.keys]
        await asyncio.gather(*(self._forget(worker, model) for worker in holding))

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        """Draw items in the next worker that is free.

        Raises:
            WorkerLost: it died of it, or meanwhile.
        """
        worker = await self._next_free(model)
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
        beginning = [] if self._begun is None else [self._begun]
        for task in (*self._restarts, *beginning):
            task.cancel()
        await asyncio.gather(*self._restarts, *beginning, return_exceptions=True)
        for worker in self._workers:
            worker.stop_watching()
        await asyncio.gather(*(asyncio.to_thread(worker.end) for worker in self._workers))
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._orders.shutdown(wait=False, cancel_futures=True)

    async def _begin(self) -> None:
        """Start the workers, once."""
        if self._begun is None:
            self._begun = asyncio.get_running_loop().create_task(self._start_all())
        await asyncio.shield(self._begun)

    async def _start_all(self) -> None:
        await asyncio.gather(*(self._start(worker) for worker in self._workers))

    async def _order(self, worker: _Worker, order: Order) -> object:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._orders, worker.order, order)

    async def _load(self, model: str) -> PipelineInfo:
        """Have a model in every worker that is there; those that are being started fetch it."""
        told: dict[str, PipelineInfo] = {}
        while True:
            lacking = [
                each
                for each in self._workers
                if each.ready and not (told and told.keys() <= each.keys)
            ]
            if not lacking:
                break
            answers = await asyncio.gather(
                *(self._load_into(worker, model) for worker in lacking), return_exceptions=True
            )
            found = [answer for answer in answers if not isinstance(answer, BaseException)]
            told |= {model_key(info): info for info in found}
            failed = [answer for answer in answers if isinstance(answer, BaseException)]
            failed = [error for error in failed if not isinstance(error, WorkerLost)]
            if not failed and len(told) > 1:
                changed = f"bundle {model}: it changed while it was loaded; load it once more"
                failed = [BundleError(changed)]
            if failed:
                for key in told:
                    if key not in self._models:
                        await self.unload(key)
                raise failed[0]
        if not told:
            raise WorkerLost("no worker is left to load it")
        ((key, info),) = told.items()
        self._models[key] = model
        return info

    async def _load_into(self, worker: _Worker, model: str) -> PipelineInfo:
        info = cast("PipelineInfo", await self._order(worker, Load(model)))
        worker.keys.add(model_key(info))
        return info

    async def _forget(self, worker: _Worker, key: str) -> None:
        worker.keys.discard(key)
        with contextlib.suppress(WorkerLost):
            await self._order(worker, Unload(key))

    async def _equip(self, worker: _Worker) -> None:
        """Give a worker that was just started what the others have."""
        refused: set[str] = set()
        # Models come and go meanwhile: it is ready when a look finds nothing to do.
        while True:
            missing = self._models.keys() - worker.keys - refused
            extra = worker.keys - self._models.keys()
            if not missing and not extra:
                return
            for key in extra:
                await self._forget(worker, key)
            for key in missing & self._models.keys():
                try:
                    await self._fetch(worker, key, self._models[key])
                except (T2IError, RuntimeError) as error:
                    refused.add(key)
                    _log.error("worker %d draws without %s: %s", worker.number, key, error)

    async def _fetch(self, worker: _Worker, key: str, model: str) -> None:
        """Let a worker load a model, which must be the version of this key."""
        found = model_key(await self._load_into(worker, model))
        if found != key:
            await self._forget(worker, found)
            raise BundleError(f"bundle {model}: it is no more what was loaded; swap the model")

    async def _next_free(self, model: str) -> _Worker:
        """Return the next worker that is free for a model.

        Raises:
            WorkerLost: none has it any more: each was started again, and could not load it.
        """
        lacking: list[_Worker] = []
        try:
            while True:
                worker = await self._free.get()
                if worker.ready and (model in worker.keys or model not in self._models):
                    return worker
                if worker.ready:
                    lacking.append(worker)
                    if not any(each.ready and model in each.keys for each in self._workers):
                        raise WorkerLost(f"no worker has {model} any more")
        finally:
            for worker in lacking:
                self._free.put_nowait(worker)

    def _freed(self, worker: _Worker, drawing: asyncio.Future[Batch]) -> None:
        if not drawing.cancelled():
            # Whoever asked has seen it, or is gone.
            drawing.exception()
        if worker.ready:
            self._free.put_nowait(worker)

    async def _start(self, worker: _Worker) -> None:
        loop = asyncio.get_running_loop()
        try:
            ready = await loop.run_in_executor(
                self._orders, worker.start, self._device, self._cores
            )
            self._best_batch = CPU_BATCH if ready.on_cpu else GPU_BATCH
            await self._equip(worker)
        except (T2IError, WorkerLost, OSError):
            await loop.run_in_executor(self._orders, worker.end)
            raise
        worker.ready = True
        worker.watch(loop, lambda: self._lost(worker))
        self._free.put_nowait(worker)
        if sum(each.ready for each in self._workers) == 1:
            self._tell(serving=True)

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
    """One process and the pipes to it. What waits for it is called in threads.

    Attributes:
        keys: the models that it holds.
        ready: whether it takes batches.
        busy: whether it draws one.
        pause: seconds before it is started again.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.pause = _FIRST_PAUSE
        self.ready = False
        self.busy = False
        self.keys: set[str] = set()
        self._ordering = threading.Lock()
        self._process: SpawnProcess | None = None
        self._watched: asyncio.AbstractEventLoop | None = None

    @property
    def pid(self) -> int:
        return -1 if self._process is None else self._process.pid or -1

    def start(self, device: str | None, cores: int) -> Ready:
        context = multiprocessing.get_context("spawn")
        # An order that waits for its turn still belongs to the process before this one.
        with self._ordering:
            self._connection, batches = context.Pipe()
            self._orders, orders = context.Pipe()
            self.keys = set()
            self._process = context.Process(
                target=work,
                args=(batches, orders, device, cores),
                name=f"t2i-worker-{self.number}",
                daemon=True,
            )
            self._process.start()
            batches.close()
            orders.close()
            ready = self._receive(self._orders)
        assert isinstance(ready, Ready)
        return ready

    def order(self, order: Order) -> object:
        with self._ordering:
            try:
                self._orders.send(order)
                return self._receive(self._orders)
            except OSError as error:
                raise self._gone() from error

    def ask(self, job: Job) -> Batch:
        self.busy = True
        try:
            self._connection.send(job)
            batch = self._receive(self._connection)
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
