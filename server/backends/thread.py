"""Draws in threads of this process: torch lets go of the interpreter while it computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from server.backends import Batch, Drawn, Item
from t2i.conditions import Condition
from t2i.errors import T2IError

if TYPE_CHECKING:
    from torch import Tensor

    from t2i.attention import WordMap
    from t2i.pipeline import GenerationWarning, Pipeline, PipelineInfo

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

    async def load(self, models: Sequence[str]) -> Sequence[PipelineInfo]:
        """Load and warm up the models; describe them in the same order.

        Raises:
            T2IError: a model cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        pipelines = await loop.run_in_executor(self._executor, self._load, models)
        return [pipeline.info for pipeline in pipelines]

    async def run(self, model: str, items: Sequence[Item]) -> Batch:
        """Draw items with a loaded model."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _draw, self._pipelines[model], items)

    async def close(self) -> None:
        """Release the threads; a batch that runs is waited for, a model that loads is not."""
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


def _draw(pipeline: Pipeline, items: Sequence[Item]) -> Batch:
    """Encode and draw; runs in a worker thread."""
    from t2i.pipeline import Draw, Fine, Towards

    began = time.perf_counter()
    asked = dict.fromkeys(condition for item in items for condition in item.conditions)
    encoded = _encode(pipeline, list(asked))
    middle = time.perf_counter()
    draws: dict[int, Draw] = {}
    warnings: dict[int, tuple[GenerationWarning, ...]] = {}
    outcomes: dict[int, Drawn | T2IError] = {}
    for position, item in enumerate(items):
        found = [encoded[condition] for condition in item.conditions]
        refused = [each for each in found if isinstance(each, T2IError)]
        if refused:
            outcomes[position] = refused[0]
            continue
        known = [each for each in found if isinstance(each, _Encoded)]
        embedding, *further = (each.embedding for each in known)
        towards, fine = item.towards, item.fine
        draws[position] = Draw(
            embedding,
            item.seed,
            item.truncation,
            item.conditioning_truncation,
            None if towards is None else Towards(further[0], towards.seed, towards.place),
            None if fine is None else Fine(further[-1], fine.stage),
        )
        warnings[position] = tuple(
            dict.fromkeys(warning for each in known for warning in each.warnings)
        )
    drawn = dict(zip(draws, pipeline.draw(list(draws.values())), strict=True))
    scored = [position for position in drawn if items[position].scored]
    scores: dict[int, float] = {}
    if scored:
        last = [drawn[position][-1] for position in scored]
        told = pipeline.score(last, [draws[position].embedding for position in scored])
        scores = dict(zip(scored, told, strict=True))
    attentive = [position for position in drawn if items[position].attention]
    maps: dict[int, tuple[WordMap, ...]] = {}
    if attentive:
        found_maps = pipeline.attention(
            [items[position].condition for position in attentive],
            [draws[position] for position in attentive],
        )
        maps = dict(zip(attentive, found_maps, strict=True))
    for position, pictures in drawn.items():
        outcomes[position] = Drawn(
            pictures, warnings[position], scores.get(position), maps.get(position, ())
        )
    ended = time.perf_counter()
    return Batch([outcomes[n] for n in range(len(items))], middle - began, ended - middle)


class _Encoded(NamedTuple):
    embedding: Tensor
    warnings: tuple[GenerationWarning, ...]


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
        condition: _Encoded(embedding, pipeline.warnings(condition))
        for condition, embedding in zip(conditions, embeddings, strict=True)
    }
