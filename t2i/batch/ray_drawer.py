"""Draws the shards of a job in processes of Ray, here or on other machines.

The driver keeps all that must be kept once: plan, lock, rows, progress, reports. A worker is handed
one shard at a time and writes its files by itself. A worker that is lost takes nothing with it but
the shard that it was drawing; another one draws that from the start and gives the same bytes under
the same names, so it does not matter how far the lost one had come.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i.batch.errors import BatchError, JobStopped
from t2i.batch.plan import Model, whole
from t2i.batch.ray_worker import Fault, Order, Ready, Told, Worker, versions
from t2i.batch.shard import ShardReport, ShardTask
from t2i.batch.storage import Storage, write
from t2i.extras import needs_extra
from t2i.parcels import pack, put
from t2i.ray_cluster import RayCluster, RayUnusable

__all__ = ["RayDrawer"]

_MOST_WORKERS = 10_000
# So often in a row may a shard, or a worker that starts, be lost before it is taken for the cause.
_LOSSES = 3
_PAUSE_SECONDS = 1.0
# As long as a job waits for a service that is full: machines may have to be started first.
_PATIENCE_SECONDS = 600.0
_POLL_SECONDS = 0.2
# For workers to end their batch and take their drafts with them.
_GRACE_SECONDS = 10.0


class RayDrawer:
    """Draws whole shards in Ray's workers, each with one model on one processor.

    Args:
        model: name or folder of a bundle on this machine, from which the workers are given it.
        device: torch device of all workers; None for CUDA where the Ray has it, else the CPU. With
            CUDA each worker takes a graphics processor.
        address: see `t2i.ray_cluster.RayCluster.usual`; a Ray that is started ends with `close`.
        workers: how many; None for one on each processor.

    Attributes:
        model: what draws.
        shards_at_once: how many shards it can work at together.

    Raises:
        ExtraMissing: if ray or torch is not installed.
        InvalidInput: if an argument is none of these.
        T2IError: if the bundle cannot be used, there is no Ray, or its workers cannot load it.
    """

    def __init__(
        self,
        model: str = "default",
        device: str | None = None,
        *,
        address: str | None = None,
        workers: int | None = None,
    ) -> None:
        if workers is not None:
            whole("ray-workers", workers, 1, _MOST_WORKERS)
        with needs_extra("ray", or_else="draw without --engine ray"):
            import ray  # noqa: F401 - asked for before anything is read

            from t2i.bundle import Bundle
            from t2i.compute import core_count
            from t2i.pipeline import describe_bundle
        bundle = Bundle.load(model)
        self.model: Model = describe_bundle(bundle)
        self._closing = threading.Event()
        self._lock = threading.Condition()
        self._drawing = 0
        self._fault: Exception | None = None
        self._mark = f".{secrets.token_hex(8)}.tmp"
        self._marked: Storage | None = None
        self._team: set[_Member] = set()
        self._free: queue.SimpleQueue[_Member] = queue.SimpleQueue()
        self._idle_since = time.monotonic()
        parcel = pack(str(bundle.folder))
        self._cluster, size = _joined(address, workers or core_count(), 2 * parcel.size)
        cuda = device is None and size["GPU"] >= 1
        self._device = device or ("cuda" if cuda else "cpu")
        places = int(size["GPU" if self._device.startswith("cuda") else "CPU"])
        self.shards_at_once = workers or max(1, places)
        self._starting = ThreadPoolExecutor(self.shards_at_once, thread_name_prefix="t2i-ray")
        try:
            self._parcel = put(parcel)
            del parcel
            self._order = Order(self._device)
            for _ in range(self.shards_at_once):
                self._starting.submit(self._start)
            # What keeps workers from loading is told before a job begins.
            self._free.put(self._next_free(lambda: False))
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[tuple[str, int]]:
        """Machine and process of each worker that is there."""
        with self._lock:
            return sorted((each.ready.host, each.ready.pid) for each in self._team)

    def draw_shard(self, task: ShardTask) -> ShardReport:
        """Have a worker draw a shard; see `t2i.batch.draw_shard`.

        Raises:
            JobStopped: if it was given up.
            BatchError: if it was lost several times in a row, or there are no workers any more.
            T2IError: if the model fails as a whole.
            OSError: if a worker cannot write.
        """
        progress = _Progress(task)
        reason = ""
        with self._busy():
            self._set_mark(task.storage)
            for _ in range(_LOSSES):
                member = self._next_free(task.stopped)
                try:
                    answer = self._draw(member, task, progress)
                except _Lost as lost:
                    reason = str(lost)
                    self._replace(member)
                    continue
                self._free.put(member)
                report = _report(answer)
                progress.reach(report.rows, report.pictures)
                return report
        raise BatchError(
            f"shard {task.shard.name}: its worker was lost {_LOSSES} times in a row ({reason}); "
            "give the workers more memory, or fewer rows to a shard, and run it again"
        )

    def close(self) -> None:
        """Give up what is being drawn and end all workers; may be called again."""
        self._closing.set()
        self._starting.shutdown(cancel_futures=True)
        try:
            # Who still asks Ray something when the connection is gone would start another one.
            with self._lock:
                self._lock.wait_for(lambda: not self._drawing, _GRACE_SECONDS)
            self._dismiss()
        finally:
            self._cluster.close()
            if self._marked is not None:
                # A later run removes it as well.
                with suppress(OSError):
                    self._marked.remove(self._mark)
                self._marked = None

    def _draw(self, member: _Member, task: ShardTask, progress: _Progress) -> object:
        import ray

        asking: list[Any] = []

        def look() -> None:
            self._check(task.stopped)
            if not asking:
                asking.append(member.handle.told.remote())
            if ray.wait(asking, timeout=0)[0]:
                # If it is lost, the shard's own answer says so.
                with suppress(ray.exceptions.RayError):
                    progress.hear(ray.get(asking.pop()))

        out = _reached(task.storage)
        return self._answer(member.handle.draw.remote(task.plan, task.shard, out, self._mark), look)

    def _next_free(self, stopped: Callable[[], bool]) -> _Member:
        while True:
            self._check(stopped)
            with suppress(queue.Empty):
                return self._free.get(timeout=_POLL_SECONDS)
            with self._lock:
                lonely = not self._team and time.monotonic() - self._idle_since
            if lonely > _PATIENCE_SECONDS:
                raise BatchError(
                    f"{self._cluster.where}: gave no worker a processor within "
                    f"{_PATIENCE_SECONDS:.0f} seconds; look with `ray status` what it is waiting "
                    "for"
                )

    def _check(self, stopped: Callable[[], bool]) -> None:
        if self._fault is not None:
            raise self._fault
        if self._closing.is_set() or stopped():
            raise JobStopped("the job is being stopped")

    def _start(self) -> None:
        """Bring a worker to where it can draw; runs in a thread of its own."""
        try:
            reason = ""
            for attempt in range(_LOSSES):
                if self._closing.wait(attempt * _PAUSE_SECONDS):
                    return
                try:
                    member = self._loaded()
                except _Lost as lost:
                    reason = str(lost)
                    continue
                with self._lock:
                    self._team.add(member)
                self._free.put(member)
                return
            raise BatchError(
                f"{self._cluster.where}: workers are lost before they can draw ({reason}); is "
                f"t2i[ray] {versions()['t2i']} installed on every machine, with memory for the "
                "model?"
            )
        except JobStopped:
            return
        except Exception as error:
            # Told by whoever waits for a worker.
            self._fault = self._fault or error

    def _loaded(self) -> _Member:
        import ray

        handle = _actor(self._device).remote()
        try:
            ready = self._answer(
                handle.load.remote(self._order, self._parcel), lambda: self._check(_go_on)
            )
            if isinstance(ready, Fault):
                raise _with_host(ready)
            assert isinstance(ready, Ready)
            self._compare(ready)
        except BaseException:
            ray.kill(handle)
            raise
        return _Member(handle, ready)

    def _compare(self, ready: Ready) -> None:
        if ready.checksum != self.model.checksum:
            raise BatchError(
                f"worker on {ready.host}: has another {self.model.name} ({ready.checksum[:12]} "
                f"instead of {self.model.checksum[:12]}); leave the bundle alone while a job runs"
            )
        for name, ours in versions().items():
            theirs = ready.versions.get(name)
            if theirs != ours:
                raise BatchError(
                    f"worker on {ready.host}: has {name} {theirs}, and {ours} is what runs here, "
                    "so its pictures might differ; install the same versions on all machines"
                )

    def _answer(self, reference: Any, look: Callable[[], None]) -> object:
        """Wait for an answer of a worker; `look` is called now and then, and may raise.

        Raises:
            _Lost: if the worker was lost.
        """
        import ray

        while not ray.wait([reference], timeout=_POLL_SECONDS)[0]:
            look()
        try:
            answer: object = ray.get(reference)
        except ray.exceptions.RayTaskError:
            # Not the worker's end, but a fault of this program: it is to be seen in full.
            raise
        except ray.exceptions.RayError as error:
            raise _Lost(_why(error)) from error
        return answer

    def _replace(self, member: _Member) -> None:
        import ray

        # It may only be out of reach: nobody else draws its shard while it does.
        ray.kill(member.handle)
        with self._lock:
            self._team.discard(member)
            if not self._team:
                self._idle_since = time.monotonic()
        # No thread is begun any more when the drawer is being closed.
        with suppress(RuntimeError):
            self._starting.submit(self._start)

    def _dismiss(self) -> None:
        import ray

        with self._lock:
            team, self._team = self._team, set()
        if not team:
            return
        leaving = [member.handle.stop.remote() for member in team]
        ray.wait(leaving, num_returns=len(leaving), timeout=_GRACE_SECONDS)
        for member in team:
            ray.kill(member.handle)

    def _set_mark(self, out: Storage) -> None:
        """Leave in the folder what workers know it by; `JobFolder` takes it for a draft."""
        with self._lock:
            if self._marked is None:
                with write(out, self._mark) as file:
                    file.write(b"\n")
                self._marked = out

    @contextmanager
    def _busy(self) -> Iterator[None]:
        with self._lock:
            self._drawing += 1
        try:
            yield
        finally:
            with self._lock:
                self._drawing -= 1
                self._lock.notify_all()


@dataclass(frozen=True, eq=False)
class _Member:
    handle: Any
    ready: Ready


class _Lost(Exception):
    """A worker is no more, or cannot be reached."""


class _Progress:
    """Tells how far a shard has come, and of nothing twice when it is drawn again."""

    def __init__(self, task: ShardTask) -> None:
        self._shard, self._drawn = task.shard.number, task.drawn
        self._rows = self._pictures = 0

    def hear(self, told: Told) -> None:
        """Take what a worker tells; it may still be of the shard before."""
        if told.shard == self._shard:
            self.reach(told.rows, told.pictures)

    def reach(self, rows: int, pictures: int) -> None:
        """Tell what has not been told of so many rows and pictures."""
        new = max(0, rows - self._rows), max(0, pictures - self._pictures)
        if any(new):
            self._rows, self._pictures = self._rows + new[0], self._pictures + new[1]
            self._drawn(*new)


def _joined(
    address: str | None, cores: int, store_bytes: int
) -> tuple[RayCluster, dict[str, float]]:
    """Return the cluster, and what there is of it."""
    try:
        cluster = RayCluster.usual(address, cores=cores, store_bytes=store_bytes)
        try:
            cluster.join()
            return cluster, cluster.size()
        except BaseException:
            cluster.close()
            raise
    except RayUnusable as error:
        raise BatchError(str(error)) from error


def _actor(device: str) -> Any:
    import ray

    return ray.remote(
        num_cpus=1,
        num_gpus=1 if device.startswith("cuda") else 0,
        max_restarts=0,
        max_concurrency=2,
        scheduling_strategy="SPREAD",
    )(Worker)


def _reached(out: Storage) -> Path | str:
    """Return the folder as another process knows it, which works elsewhere."""
    place = out.place()
    return place.absolute() if isinstance(place, Path) else place


def _go_on() -> bool:
    return False


def _why(error: Exception) -> str:
    """Return what Ray tells of a loss, in a line; it tells much."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "exit detail" in line or "died" in line or "Error" in line]
    said = (telling or lines or [type(error).__name__])[-1]
    return said if len(said) <= 200 else f"{said[:199]}…"


def _report(answer: object) -> ShardReport:
    if isinstance(answer, Fault):
        raise _with_host(answer)
    assert isinstance(answer, ShardReport)
    return answer


def _with_host(fault: Fault) -> Exception:
    error = fault.error
    if isinstance(error, JobStopped):
        return error
    if isinstance(error, OSError):
        told = f"{error.strerror or error} (on {fault.host})"
        return OSError(error.errno, told, error.filename)
    return BatchError(f"worker on {fault.host}: {error}")
