"""Draws in threads of this process: torch lets go of the interpreter while it computes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from server.backends import Batch, Drawn, Item
from t2i.conditions import Condition, Text
from t2i.errors import T2IError

if TYPE_CHECKING:
    from torch import Tensor

    from t2i.pipeline import GenerationWarning, Pipeline, PipelineInfo

__all__ = ["ThreadBackend"]

_GPU_BATCH = 16
_MEMORY_BYTES = 32 * 1024 * 1024
# What a caption takes, roughly, with its warnings and its place in the memory.
_CAPTION_BYTES = 2048


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
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._memory = _Memory()

    @property
    def workers(self) -> int:
        """How many batches may run at once."""
        return self._workers

    @property
    def best_batch(self) -> int:
        """One picture for each core on a CPU, where each is drawn on one thread; more on a GPU."""
        return self._best_batch

    async def load(self, models: Sequence[str]) -> Sequence[PipelineInfo]:
        """Load and warm up the models; describe them in the same order.

        Raises:
            T2IError: a model cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        pipelines = await loop.run_in_executor(self._executor, self._load, models)
        return [pipeline.info for pipeline in pipelines]

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        """Draw items with a loaded model; new conditions are encoded while others are drawn."""
        loop = asyncio.get_running_loop()
        pipeline = self._pipelines[model]
        conditions = list(dict.fromkeys(item.condition for item in items))
        known: dict[Condition | None, _Encoded | T2IError] = {
            c: found for c in conditions if (found := self._memory.recall(pipeline, c))
        }
        unknown = [condition for condition in conditions if condition not in known]
        encode_seconds = 0.0
        if unknown:
            new, encode_seconds = await loop.run_in_executor(
                self._encoder, _timed_encode, pipeline, unknown
            )
            known |= new
            self._memory.keep(pipeline, new)
        return await loop.run_in_executor(
            self._executor, _draw, pipeline, items, known, encode_seconds, begin
        )

    async def close(self) -> None:
        """Release the threads; a batch that runs is waited for, a model that loads is not."""
        self._encoder.shutdown(wait=False, cancel_futures=True)
        if self._pipelines:
            await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        else:
            self._executor.shutdown(wait=False, cancel_futures=True)

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


def _draw(
    pipeline: Pipeline,
    items: Sequence[Item],
    encoded: dict[Condition | None, _Encoded | T2IError],
    encode_seconds: float,
    begin: Callable[[], Sequence[bool]],
) -> Batch:
    """Draw what is still wanted; runs in a worker thread."""
    places = [place for place, keep in enumerate(begin()) if keep]
    began = time.perf_counter()
    outcomes: list[Drawn | T2IError | None] = [None] * len(items)
    if places:
        drawn = _draw_wanted(pipeline, [items[place] for place in places], encoded)
        for place, outcome in zip(places, drawn, strict=True):
            outcomes[place] = outcome
    return Batch(outcomes, encode_seconds, time.perf_counter() - began)


def _draw_wanted(
    pipeline: Pipeline,
    items: Sequence[Item],
    encoded: dict[Condition | None, _Encoded | T2IError],
) -> list[Drawn | T2IError]:
    from t2i.pipeline import Draw

    draws: dict[int, Draw] = {}
    outcomes: dict[int, Drawn | T2IError] = {}
    for position, item in enumerate(items):
        found = encoded[item.condition]
        if isinstance(found, T2IError):
            outcomes[position] = found
        else:
            draws[position] = Draw(
                found.embedding, item.seed, item.truncation, item.conditioning_truncation
            )
    for position, pictures in zip(draws, pipeline.draw(list(draws.values())), strict=True):
        found = encoded[items[position].condition]
        assert isinstance(found, _Encoded)
        outcomes[position] = Drawn(pictures, found.warnings)
    return [outcomes[n] for n in range(len(items))]


class _Encoded(NamedTuple):
    embedding: Tensor
    warnings: tuple[GenerationWarning, ...]


class _Memory:
    """The captions asked for last, with their embeddings and warnings, bounded in bytes.

    A text encoder remembers captions too, but not what is to be said about them, and it is asked
    in another thread. Other conditions are encoded in no time. Used on the event loop only.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Pipeline, Condition | None], _Encoded] = OrderedDict()
        self._bytes = 0

    def recall(self, pipeline: Pipeline, condition: Condition | None) -> _Encoded | None:
        if not isinstance(condition, Text):
            return None
        found = self._known.get((pipeline, condition))
        if found is not None:
            self._known.move_to_end((pipeline, condition))
        return found

    def keep(self, pipeline: Pipeline, new: dict[Condition | None, _Encoded | T2IError]) -> None:
        for condition, found in new.items():
            key = (pipeline, condition)
            if isinstance(condition, Text) and isinstance(found, _Encoded):
                if key not in self._known:
                    self._bytes += _size(found)
                self._known[key] = found
        while self._bytes > _MEMORY_BYTES:
            _, found = self._known.popitem(last=False)
            self._bytes -= _size(found)


def _size(found: _Encoded) -> int:
    return _CAPTION_BYTES + found.embedding.numel() * found.embedding.element_size()


def _timed_encode(
    pipeline: Pipeline, conditions: Sequence[Condition | None]
) -> tuple[dict[Condition | None, _Encoded | T2IError], float]:
    began = time.perf_counter()
    found = _encode(pipeline, conditions)
    return found, time.perf_counter() - began


def _encode(
    pipeline: Pipeline, conditions: Sequence[Condition | None]
) -> dict[Condition | None, _Encoded | T2IError]:
    """Return the embedding of each condition, or why it has none."""
    try:
        embeddings = pipeline.encode(conditions)
    except T2IError as error:
        if len(conditions) == 1:
            return {conditions[0]: error}
        # One bad condition must not spoil the rest of the batch: find it.
        return {c: e for condition in conditions for c, e in _encode(pipeline, [condition]).items()}
    return {
        # A copy: a row would keep the whole batch's memory.
        condition: _Encoded(embedding.clone(), pipeline.warnings(condition))
        for condition, embedding in zip(conditions, embeddings, strict=True)
    }
