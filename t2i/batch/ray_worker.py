"""What runs in each process of Ray that draws: one model, and one shard at a time.

Its answers are values, errors too: what Ray raises here then always means that a process, and not a
shard, has come to its end.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from t2i.batch.drawers import PipelineDrawer
from t2i.batch.errors import BatchError
from t2i.batch.plan import Plan, Shard
from t2i.batch.shard import ShardReport, ShardTask, draw_shard
from t2i.batch.storage import storage_of
from t2i.errors import T2IError
from t2i.parcels import Parcel, unpacked
from t2i.scratch import Scratch

__all__ = ["Fault", "Order", "Ready", "Told", "Worker", "versions"]

# What a picture's bytes depend on beside its bundle.
_DECIDING = ("torch", "pillow")


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to draw with.

    Attributes:
        device: torch device.
        cores: cores to keep busy on a CPU.
    """

    device: str
    cores: int = 1


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker that has loaded its model.

    Attributes:
        host: the machine's name.
        pid: the process.
        checksum: of the bundle that it holds.
        versions: see `versions`.
    """

    host: str
    pid: int
    checksum: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """How far a worker has come with a shard.

    Attributes:
        shard: its number.
        rows: rows that are done.
        pictures: pictures that are written.
    """

    shard: int
    rows: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a worker did not do what it was asked.

    Attributes:
        host: the machine's name.
        error: what happened.
    """

    host: str
    error: T2IError | OSError


class Worker:
    """Draws shards; made by Ray in a process of its own, and called by one driver.

    `draw` may run while `told` or `stop` are called.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._drawing = threading.Lock()
        self._told = Told(-1, 0, 0)
        self._drawer: PipelineDrawer | None = None
        self._scratch: Scratch | None = None

    def load(self, order: Order, parcel: Parcel) -> Ready | Fault:
        """Unpack the bundle, check every file of it, and load it.

        Args:
            order: how to draw with it.
            parcel: its files.
        """
        try:
            return self._load(order, parcel)
        except (T2IError, OSError) as error:
            return _fault(error)

    def draw(self, plan: Plan, shard: Shard, out: Path | str, mark: str) -> ShardReport | Fault:
        """Draw a shard; see `t2i.batch.draw_shard`.

        Args:
            plan: what to do with rows.
            shard: the rows.
            out: the job's folder.
            mark: a file that is there if it is the folder that the driver means.
        """
        assert self._drawer is not None
        with self._drawing:
            self._told = Told(shard.number, 0, 0)
            try:
                storage = storage_of(out)
                try:
                    storage.read(mark)
                except FileNotFoundError:
                    raise BatchError(
                        f"{out}: is not the job's folder as this machine sees it; give an --out "
                        "that all machines of the Ray reach: a folder that they share, or an "
                        "address such as s3://bucket/birds"
                    ) from None
                task = ShardTask(plan, shard, storage, self._drawn, self._stop.is_set)
                return draw_shard(task, self._drawer.draw, at_once=self._drawer.at_once)
            except (T2IError, OSError) as error:
                return _fault(error)

    def told(self) -> Told:
        """Return how far the shard has come."""
        return self._told

    def stop(self) -> None:
        """Give up the shard soon, leave nothing behind, and take no other."""
        self._stop.set()
        with self._drawing:
            if self._scratch is not None:
                self._scratch.close()

    def _load(self, order: Order, parcel: Parcel) -> Ready:
        from t2i.compute import limit_cores
        from t2i.memory import keep_memory
        from t2i.pipeline import Pipeline

        keep_memory()
        limit_cores(order.cores)
        # The bundle goes there, drafts of shards too, and all of it with this process.
        self._scratch = Scratch("t2i-worker-")
        tempfile.tempdir = str(self._scratch.path)
        with unpacked(parcel) as folder:
            pipeline = Pipeline.from_pretrained(folder, order.device)
            pipeline.read_all()
        self._drawer = PipelineDrawer(pipeline)
        return Ready(socket.gethostname(), os.getpid(), self._drawer.model.checksum, versions())

    def _drawn(self, rows: int, pictures: int) -> None:
        # Called by one thread at a time.
        told = self._told
        self._told = Told(told.shard, told.rows + rows, told.pictures + pictures)


def versions() -> dict[str, str]:
    """Return the versions of t2i and of what else decides about a picture's bytes."""
    from t2i import __version__

    # A build for CUDA and one for CPUs have the same numbers before the plus.
    others = {name: metadata.version(name).partition("+")[0] for name in _DECIDING}
    return {"t2i": __version__, **others}


def _fault(error: T2IError | OSError) -> Fault:
    return Fault(socket.gethostname(), error)
