"""Draws in threads of this process: torch lets go of the interpreter while it computes.

On a CPU there is a worker for each core, and each draws its batches on one thread. Workers that
shared the cores of one batch would wait for its slowest core, which is the one that also has to run
the event loop; so none ever waits for another.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from server.backends import CPU_BATCH, GPU_BATCH, Batch, Described, Item, model_key
from server.backends.drawing import Memory, draw, timed_encode
from server.backends.loading import (
    draws_on_cpu,
    inspect_bundle,
    load_pipeline,
)
from t2i.memory import give_back_memory

if TYPE_CHECKING:
    from t2i.pipeline import Pipeline

__all__ = ["ThreadBackend"]


class ThreadBackend:
    """Loads pipelines into this process and draws with them, off the event loop.

    Args:
        workers: batches at the same time; None for one a core, or one on a GPU.
        device: torch device; None lets the pipeline choose.
    """

    def __init__(self, *, workers: int | None, device: str | None) -> None:
        self._asked = workers
        self._workers = workers or 1
        self._cores: int | None = None
        self._device = device
        self._best_batch = GPU_BATCH
        self._pipelines: dict[str, Pipeline] = {}
        # Threads are born as they are needed.
        self._executor = ThreadPoolExecutor(workers or os.cpu_count(), thread_name_prefix="draw")
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        # Apart: a model that is loaded while others draw holds up none of them.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._memory = Memory()

    @property
    def workers(self) -> int:
        """How many batches may run at once."""
        return self._workers

    @property
    def best_batch(self) -> int:
        """How many pictures share a forward pass; on a GPU more than on a core."""
        return self._best_batch

    @property
    def copies(self) -> int:
        """One, which the threads share."""
        return 1

    async def inspect(self, model: str) -> Described:
        """Check every file of a bundle and describe it.

        Raises:
            T2IError: there is no such bundle, or it is damaged.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loader, self._inspect, model)

    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        """Load and warm up models, beside those that there are; describe them in the same order.

        Raises:
            T2IError: a model cannot be loaded; none is then.
        """
        loop = asyncio.get_running_loop()
        loaded = await loop.run_in_executor(self._loader, self._load, models)
        self._pipelines |= {model_key(pipeline.info): pipeline for pipeline, _ in loaded}
        return [described for _, described in loaded]

    def moved(self, model: str, path: str) -> None:
        """Do nothing: what is loaded is never loaded once more."""

    async def unload(self, model: str) -> None:
        """Forget a model."""
        self._pipelines.pop(model, None)
        await asyncio.get_running_loop().run_in_executor(self._loader, give_back_memory)

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        """Draw items with a loaded model; new conditions are encoded while others are drawn."""
        loop = asyncio.get_running_loop()
        pipeline = self._pipelines[model]
        known, unknown = self._memory.look_up(pipeline, items)
        encode_seconds = 0.0
        if unknown:
            new, encode_seconds = await loop.run_in_executor(
                self._encoder, timed_encode, pipeline, unknown
            )
            known |= new
            self._memory.keep(pipeline, new)
        return await loop.run_in_executor(
            self._executor,
            functools.partial(
                draw, pipeline, items, known, encode_seconds, begin, cores=self._cores
            ),
        )

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Do nothing: threads end with the process."""

    async def close(self) -> None:
        """Release the threads; a batch that runs is waited for, a model that loads is not."""
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._encoder.shutdown(wait=False, cancel_futures=True)
        if self._pipelines:
            await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        else:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _inspect(self, model: str) -> Described:
        self._choose_batch()
        return inspect_bundle(model)

    def _load(self, models: Sequence[str]) -> list[tuple[Pipeline, Described]]:
        # The slow imports happen here, while the server already answers health checks.
        self._choose_batch()
        return [load_pipeline(model, self._device) for model in models]

    def _choose_batch(self) -> None:
        from t2i.compute import core_count

        if draws_on_cpu(self._device):
            cores = core_count()
            self._workers = self._asked or cores
            self._cores = max(1, cores // self._workers)
            self._best_batch = CPU_BATCH * self._cores
