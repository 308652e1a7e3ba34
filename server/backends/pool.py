"""Workers of which each holds all loaded models and draws one batch at a time, anywhere.

Whoever is lost takes its batch with it and nothing else: the others go on, and it is started again.
What a worker is, a process of this machine or something further away, is for `Worker` to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Generic, TypeVar

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
from server.backends.worker import Job, Ready
from t2i.errors import BundleError, T2IError

__all__ = ["END_SECONDS", "PoolBackend", "Worker", "core_count"]

_log = logging.getLogger("t2i.server")

S = TypeVar("S")
A = TypeVar("A")
T = TypeVar("T")

# Pauses before a lost worker is started again; they double while it keeps dying.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_MOST_THREADS = 1024
# What a batch may take that still runs when the server ends.
END_SECONDS = 5.0


class Worker(ABC, Generic[S]):
    """One of those who draw, as the server sees it. All but `watch` is called in threads.

    Orders about models come one at a time, and while it draws.

    Attributes:
        number: from 0.
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

    @property
    @abstractmethod
    def pid(self) -> int:
        """Its process, wherever that is; -1 while there is none."""

    @abstractmethod
    def start(self) -> Ready:
        """Start it, without any models, and wait until it takes orders.

        Raises:
            T2IError: it cannot be, for a reason that a person can do something about.
            WorkerLost: it ended while it was started.
            OSError: the system does not let it.
        """

    @abstractmethod
    def inspect(self, source: S) -> Described:
        """Have it check every file of a bundle and describe it."""

    @abstractmethod
    def load(self, source: S) -> Described:
        """Have it load a model."""

    @abstractmethod
    def unload(self, key: str) -> None:
        """Have it forget a model."""

    @abstractmethod
    def draw(self, job: Job) -> Batch:
        """Have it draw a batch.

        Raises:
            WorkerLost: it ended.
        """

    @abstractmethod
    def watch(self, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        """Call `lost` on the loop when it ends, and be not ready from then on."""

    @abstractmethod
    def stop_watching(self) -> None:
        """Do not call it any more."""

    @abstractmethod
    def end(self) -> None:
        """End it, whether or not it was ever started; nothing is asked of it any more."""


class PoolBackend(ABC, Generic[S]):
    """Draws with workers, and starts those again that are lost.

    A worker is given a model as a *source*, which is whatever a worker of this kind can load from.
    Those who make a kind of pool say who the workers are: before `_open` ends, in `_workers`.
    """

    def __init__(self) -> None:
        self._best_batch = GPU_BATCH
        # What every worker should hold: the folder or name of each by its key.
        self._models: dict[str, str] = {}
        self._begun: asyncio.Task[None] | None = None
        self._workers: Sequence[Worker[S]] = ()
        self._free: asyncio.Queue[Worker[S]] = asyncio.Queue()
        # Threads are born as they are needed.
        self._executor = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="worker")
        self._orders = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="order")
        self._watchers: list[Callable[[bool], None]] = []
        self._restarts: set[asyncio.Task[None]] = set()
        self._drawings: set[asyncio.Future[Batch]] = set()
        self._closing = False

    @abstractmethod
    async def _source(self, model: str) -> S:
        """Return what workers load a model from, given its name or folder.

        Raises:
            T2IError: there is no such bundle, or it is damaged.
        """

    async def _open(self) -> None:
        """Get ready for workers to be started; called once, before the first."""

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
        return await self._order(worker.inspect, await self._source(model))

    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        """Let every worker load and warm up models; describe them in the same order.

        The first time, the workers are started for it. They go on drawing with what they have.

        Raises:
            T2IError: a model cannot be loaded.
            WorkerLost: a worker ended while it loaded, and none was left.
        """
        await self._begin()
        return [await self._load(model) for model in models]

    def moved(self, model: str, path: str) -> None:
        """Let workers that are started again load a model from another folder."""
        if model in self._models:
            self._models[model] = path

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
        drawing = loop.run_in_executor(self._executor, _draw, worker, Job(model, asked))
        # A batch that is given up is drawn to its end: the worker is free after that, not before.
        drawing.add_done_callback(lambda done: self._freed(worker, done))
        self._drawings.add(drawing)
        drawing.add_done_callback(self._drawings.discard)
        batch = await asyncio.shield(drawing)
        drawn = iter(batch.outcomes)
        outcomes: list[Drawn | T2IError | None] = [next(drawn) if flag else None for flag in wanted]
        return replace(batch, outcomes=outcomes)

    async def close(self) -> None:
        """End the workers; batches that run are waited for, models that load are not."""
        self._closing = True
        beginning = [] if self._begun is None else [self._begun]
        for task in (*self._restarts, *beginning):
            task.cancel()
        await asyncio.gather(*self._restarts, *beginning, return_exceptions=True)
        if self._drawings:
            await asyncio.wait(self._drawings, timeout=END_SECONDS)
        for worker in self._workers:
            worker.stop_watching()
        await asyncio.gather(*(asyncio.to_thread(worker.end) for worker in self._workers))
        await self._shut()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._orders.shutdown(wait=False, cancel_futures=True)

    async def _shut(self) -> None:
        """Give back what `_open` took; called once, after the last worker was ended."""

    async def _begin(self) -> None:
        """Start the workers, once."""
        if self._begun is None:
            self._begun = asyncio.get_running_loop().create_task(self._start_all())
        await asyncio.shield(self._begun)

    async def _start_all(self) -> None:
        await self._open()
        await asyncio.gather(*(self._start(worker) for worker in self._workers))

    async def _order(self, order: Callable[[A], T], argument: A) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._orders, order, argument)

    async def _load(self, model: str) -> Described:
        """Have a model in every worker that is there; those that are being started fetch it."""
        source = await self._source(model)
        told: dict[str, Described] = {}
        while True:
            lacking = [
                each
                for each in self._workers
                if each.ready and not (told and told.keys() <= each.keys)
            ]
            if not lacking:
                break
            answers = await asyncio.gather(
                *(self._load_into(worker, source) for worker in lacking), return_exceptions=True
            )
            found = [answer for answer in answers if not isinstance(answer, BaseException)]
            told |= {model_key(described.info): described for described in found}
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
        ((key, described),) = told.items()
        self._models[key] = model
        return described

    async def _load_into(self, worker: Worker[S], source: S) -> Described:
        described = await self._order(worker.load, source)
        worker.keys.add(model_key(described.info))
        return described

    async def _forget(self, worker: Worker[S], key: str) -> None:
        worker.keys.discard(key)
        with contextlib.suppress(WorkerLost):
            await self._order(worker.unload, key)

    async def _equip(self, worker: Worker[S]) -> None:
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

    async def _fetch(self, worker: Worker[S], key: str, model: str) -> None:
        """Let a worker load a model, which must be the version of this key."""
        found = model_key((await self._load_into(worker, await self._source(model))).info)
        if found != key:
            await self._forget(worker, found)
            raise BundleError(f"bundle {model}: it is no more what was loaded; swap the model")

    async def _next_free(self, model: str) -> Worker[S]:
        """Return the next worker that is free for a model.

        Raises:
            WorkerLost: none has it any more: each was started again, and could not load it.
        """
        lacking: list[Worker[S]] = []
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

    def _freed(self, worker: Worker[S], drawing: asyncio.Future[Batch]) -> None:
        # Whoever asked has seen what went wrong, or is gone.
        error = None if drawing.cancelled() else drawing.exception()
        # One that was lost is free once it is back, which it may be already.
        if worker.ready and not isinstance(error, WorkerLost):
            self._free.put_nowait(worker)

    async def _start(self, worker: Worker[S]) -> None:
        loop = asyncio.get_running_loop()
        try:
            ready = await loop.run_in_executor(self._orders, worker.start)
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

    def _lost(self, worker: Worker[S]) -> None:
        if self._closing:
            return
        _log.error("worker %d (process %d) ended by itself", worker.number, worker.pid)
        if not any(each.ready for each in self._workers):
            self._tell(serving=False)
        task = asyncio.get_running_loop().create_task(self._restart(worker))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, worker: Worker[S]) -> None:
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


def core_count() -> int:
    """Return how many cores this process may use; told without torch."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _draw(worker: Worker[S], job: Job) -> Batch:
    worker.busy = True
    try:
        batch = worker.draw(job)
    finally:
        worker.busy = False
    worker.pause = _FIRST_PAUSE
    return batch
