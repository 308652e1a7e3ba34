"""What a worker process does: load the models, then draw each batch that it is sent."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from server.backends import Batch, Item
from server.backends.drawing import Memory, draw, timed_encode
from t2i.errors import T2IError
from t2i.memory import keep_memory

if TYPE_CHECKING:
    from t2i.pipeline import Pipeline, PipelineInfo

__all__ = ["Job", "Loaded", "work"]


@dataclass(frozen=True, slots=True)
class Job:
    """A batch to draw with a model, by its name."""

    model: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker is ready.

    Attributes:
        infos: the models, in the order in which they were named.
        on_cpu: whether all of them draw on the CPU.
    """

    infos: Sequence[PipelineInfo]
    on_cpu: bool


def work(connection: Connection, models: Sequence[str], device: str | None, cores: int) -> None:
    """Send `Loaded` or why not, then for each `Job` its `Batch` or why not, until there is none.

    Args:
        connection: to the server. When the server is gone, so is this process.
        models: names or folders of bundles.
        device: torch device; None lets the pipelines choose.
        cores: how many cores this process may keep busy.
    """
    # Ctrl-C and a supervisor's SIGTERM reach the whole group; the server says when to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    keep_memory()
    try:
        _work(connection, models, device, cores)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # Nobody is left to draw for.
        return


def _work(connection: Connection, models: Sequence[str], device: str | None, cores: int) -> None:
    from t2i.compute import limit_cores
    from t2i.pipeline import Pipeline

    limit_cores(cores)
    try:
        pipelines = [Pipeline.from_pretrained(name, device=device) for name in models]
        for pipeline in pipelines:
            pipeline.warm_up()
    except T2IError as error:
        connection.send(error)
        return
    infos = [pipeline.info for pipeline in pipelines]
    connection.send(Loaded(infos, all(pipeline.device.type == "cpu" for pipeline in pipelines)))
    known = {pipeline.info.name: pipeline for pipeline in pipelines}
    memory = Memory()
    while (job := connection.recv()) is not None:
        assert isinstance(job, Job)
        answer: Batch | Exception
        try:
            answer = _draw(known[job.model], job.items, memory)
        except T2IError as error:
            answer = error
        except Exception as error:
            # As text: not every exception survives the way, and one that does loses where it rose.
            answer = RuntimeError("".join(traceback.format_exception(error)))
        connection.send(answer)


def _draw(pipeline: Pipeline, items: Sequence[Item], memory: Memory) -> Batch:
    encoded, unknown = memory.look_up(pipeline, items)
    seconds = 0.0
    if unknown:
        new, seconds = timed_encode(pipeline, unknown)
        encoded |= new
        memory.keep(pipeline, new)
    return draw(pipeline, items, encoded, seconds, lambda: [True] * len(items))
