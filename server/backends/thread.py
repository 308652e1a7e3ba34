"""Draws in threads of this process: torch lets go of the interpreter while it computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from server.backends import Batch, Drawn, Item, ModelInfo
from t2i.conditions import Condition
from t2i.errors import T2IError

if TYPE_CHECKING:
    from torch import Tensor

    from t2i.pipeline import Pipeline

__all__ = ["ThreadBackend"]

_GPU_BATCH = 16


class ThreadBackend:
    """Loads pipelines into this process and draws with them, off the event loop.

    Args:
        workers: batches at the same time.
        device: torch device; None lets the pipeline choose.
    """

    def __init__(self, *, workers: int, device: str | None) -> None:
        self._workers = workers
        self._device = device
        self._best_batch = _GPU_BATCH
        self._pipelines: dict[str, Pipeline] = {}
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="draw")

    @property
    def workers(self) -> int:
        """How many batches may run at once."""
        return self._workers

    @property
    def best_batch(self) -> int:
        """One picture for each core on a CPU, where each is drawn on one thread; more on a GPU."""
        return self._best_batch

    async def load(self, models: Sequence[str]) -> Sequence[ModelInfo]:
        """Load and warm up the models; describe them in the same order.

        Raises:
            T2IError: a model cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        pipelines = await loop.run_in_executor(self._executor, self._load, models)
        return [_describe(pipeline) for pipeline in pipelines]

    async def run(self, model: str, items: Sequence[Item]) -> Batch:
        """Draw items with a loaded model."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _draw, self._pipelines[model], items)

    async def close(self) -> None:
        """Release the threads; a batch that runs is waited for."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    def _load(self, models: Sequence[str]) -> list[Pipeline]:
        # The slow imports happen here, while the server already answers health checks.
        from t2i.compute import core_count
        from t2i.pipeline import Pipeline

        pipelines = [Pipeline.from_pretrained(name, device=self._device) for name in models]
        for pipeline in pipelines:
            pipeline.warm_up()
        if all(pipeline.device.type == "cpu" for pipeline in pipelines):
            self._best_batch = core_count()
        self._pipelines = {pipeline.info.name: pipeline for pipeline in pipelines}
        return pipelines


def _describe(pipeline: Pipeline) -> ModelInfo:
    info = pipeline.info
    return ModelInfo(
        name=info.name,
        version=info.version,
        checksum=info.checksum,
        conditions=info.conditions,
        resolutions=info.resolutions,
        encoder=info.encoder,
        embedding_size=info.embedding_size,
        labels=info.labels,
        parameters=info.parameters,
    )


def _draw(pipeline: Pipeline, items: Sequence[Item]) -> Batch:
    """Encode and draw; runs in a worker thread."""
    from t2i.pipeline import Draw

    began = time.perf_counter()
    embeddings = _encode(pipeline, list(dict.fromkeys(item.condition for item in items)))
    encoded = time.perf_counter()
    draws: dict[int, Draw] = {}
    outcomes: list[Drawn | T2IError | None] = [None] * len(items)
    for position, item in enumerate(items):
        embedding = embeddings[item.condition]
        if isinstance(embedding, T2IError):
            outcomes[position] = embedding
        else:
            draws[position] = Draw(
                embedding, item.seed, item.truncation, item.conditioning_truncation
            )
    for position, pictures in zip(draws, pipeline.draw(list(draws.values())), strict=True):
        outcomes[position] = Drawn(pictures)
    ended = time.perf_counter()
    return Batch([o for o in outcomes if o is not None], encoded - began, ended - encoded)


def _encode(
    pipeline: Pipeline, conditions: Sequence[Condition]
) -> dict[Condition, Tensor | T2IError]:
    """Return the embedding of each condition, or why it has none."""
    try:
        return dict(zip(conditions, pipeline.encode(conditions), strict=True))
    except T2IError as error:
        if len(conditions) == 1:
            return {conditions[0]: error}
        # One bad condition must not spoil the rest of the batch: find it.
        return {c: e for condition in conditions for c, e in _encode(pipeline, [condition]).items()}
