"""What a worker does, wherever it is: draw each batch that it is sent, and load models meanwhile.

In a process of this machine batches come on one pipe and are drawn by the first thread; models come
on another and are loaded by a second thread, so that drawing goes on while one more is loaded.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import t2i
from server.backends import Batch, Item, model_key
from server.backends.drawing import Memory, draw, timed_encode
from server.backends.loading import draws_on_cpu, inspect_bundle, load_pipeline
from t2i.errors import T2IError
from t2i.memory import give_back_memory, keep_memory

if TYPE_CHECKING:
    from t2i.pipeline import Pipeline

__all__ = ["Bench", "Inspect", "Job", "Load", "Order", "Ready", "Unload", "answer", "work"]


@dataclass(frozen=True, slots=True)
class Job:
    """A batch to draw with a model, by its key; answered with its `Batch`."""

    model: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Inspect:
    """A bundle to check, by its name or folder; answered with its `Described`."""

    model: str


@dataclass(frozen=True, slots=True)
class Load:
    """A model to load, by its name or folder; answered with its `Described`."""

    model: str


@dataclass(frozen=True, slots=True)
class Unload:
    """A model to forget, by its key; answered with None."""

    model: str


Order = Inspect | Load | Unload


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker can be given orders.

    Attributes:
        on_cpu: whether it draws on the CPU.
        pid: its process.
        version: of t2i, where it is.
    """

    on_cpu: bool
    pid: int
    version: str


class Bench:
    """The models that a worker holds, and what it does with them.

    Args:
        device: torch device; None lets the pipelines choose.
        cores: how many cores it may keep busy.
    """

    def __init__(self, device: str | None, cores: int) -> None:
        from t2i.compute import limit_cores

        keep_memory()
        limit_cores(cores)
        self._device = device
        self._known: dict[str, Pipeline] = {}
        self._memory = Memory()
        self.ready = Ready(draws_on_cpu(device), os.getpid(), t2i.__version__)

    def obey(self, order: Order) -> object:
        """Do what is to be done about a model; in a thread that is used for nothing else.

        Raises:
            T2IError: it cannot be done.
        """
        match order:
            case Inspect(model):
                return inspect_bundle(model)
            case Load(model):
                pipeline, described = load_pipeline(model, self._device)
                self._known[model_key(pipeline.info)] = pipeline
                return described
            case Unload(model):
                self._known.pop(model, None)
                give_back_memory()
                return None

    def draw(self, job: Job) -> Batch:
        """Draw a batch; always in the same thread."""
        pipeline, items = self._known[job.model], job.items
        encoded, unknown = self._memory.look_up(pipeline, items)
        seconds = 0.0
        if unknown:
            new, seconds = timed_encode(pipeline, unknown)
            encoded |= new
            self._memory.keep(pipeline, new)
        return draw(pipeline, items, encoded, seconds, lambda: [True] * len(items))


def answer(function: Callable[..., object], *arguments: object) -> object:
    """Return what a function returns, or why it does not."""
    try:
        return function(*arguments)
    except T2IError as error:
        return error
    except Exception as error:
        # As text: not every exception survives the way, and one that does loses where it rose.
        return RuntimeError("".join(traceback.format_exception(error)))


def work(batches: Connection, orders: Connection, device: str | None, cores: int) -> None:
    """Send `Ready`, then answer each `Order` and each `Job`, until there is no more job.

    What goes wrong is answered as the exception that it was.

    Args:
        batches: to the server, for jobs. When the server is gone, so is this process.
        orders: to the server, for models.
        device: torch device; None lets the pipelines choose.
        cores: how many cores this process may keep busy.
    """
    # Ctrl-C, a supervisor's SIGTERM and a closed terminal reach the whole group; the server says
    # when to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        _work(batches, orders, Bench(device, cores))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # Nobody is left to draw for.
        return


def _work(batches: Connection, orders: Connection, bench: Bench) -> None:
    orders.send(bench.ready)
    threading.Thread(target=_obey, args=(orders, bench), daemon=True).start()
    while (job := batches.recv()) is not None:
        assert isinstance(job, Job)
        batches.send(answer(bench.draw, job))


def _obey(orders: Connection, bench: Bench) -> None:
    try:
        while True:
            orders.send(answer(bench.obey, orders.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The process ends with its other pipe.
        return
