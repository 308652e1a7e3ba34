"""Draws on Ray: whole batches go to actors, each a process with pipelines of its own, anywhere.

Without an address a Ray of our own is started on this machine and ends with the server. With one
the server joins that cluster and leaves it as it was. Bundles need to be where the server is and
nowhere else: they travel to the workers, which check every file once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import t2i
from server.backends import Batch, Described, WorkerLost
from server.backends.actor import DRAW, LIVE, ORDER, Actor
from server.backends.pool import PoolBackend, Worker, core_count
from server.backends.worker import Inspect, Job, Load, Order, Ready, Unload
from t2i.errors import InvalidInput, T2IError
from t2i.parcels import pack, put
from t2i.ray_cluster import RayCluster, RayUnusable, check_ray_address, keep_signals

__all__ = ["RayBackend"]

_log = logging.getLogger("t2i.server")

_MOST_WORKERS = 64
# A worker that has no place after so long is worth a line in the log, and then given up.
_NOTE_SECONDS, _PLACE_SECONDS = 15.0, 300.0
_LOOK_SECONDS, _SIGNAL_SECONDS = 0.4, 0.05


class RayBackend(PoolBackend["_Source"]):
    """Draws with actors of a Ray cluster, and starts those again that are lost.

    Args:
        workers: actors; each draws one batch at a time. None for one for each core (GPU) that the
            cluster has to spare, 64 at most.
        device: torch device; None for a GPU each where the cluster has some, else for a core each.
        address: `HOST:PORT` of a cluster that this machine is part of, or `"auto"`; None starts one
            on this machine.
        cores: that each may keep busy on a CPU.

    Raises:
        InvalidInput: the address is of another kind.
        ExtraMissing: Ray is not installed.
    """

    def __init__(
        self,
        *,
        workers: int | None,
        device: str | None,
        address: str | None = None,
        cores: int = 1,
    ) -> None:
        super().__init__()
        if address is not None:
            check_ray_address(address)
        self._address = address
        self._asked = workers
        self._device = device
        self._cores = cores
        # Ray knows no other devices.
        self._takes_gpus = device is None or device.partition(":")[0] == "cuda"
        self._cluster = RayCluster(
            address,
            cores=(workers or core_count()) * cores,
            gpus=None if self._takes_gpus else 0,
        )
        self._actors: list[_Actor] = []
        self._looking: asyncio.Task[None] | None = None

    @property
    def workers(self) -> int:
        """How many batches may run at once."""
        return len(self._workers) or self._asked or 1

    async def _source(self, model: str) -> _Source:
        return await asyncio.to_thread(_Source, model)

    async def _open(self) -> None:
        joining = asyncio.create_task(asyncio.to_thread(self._room))
        # Whoever closes meanwhile does not ask how it went.
        joining.add_done_callback(lambda done: done.cancelled() or done.exception())
        while not joining.done():
            keep_signals()
            await asyncio.wait({joining}, timeout=_SIGNAL_SECONDS)
        keep_signals()
        room = await joining
        gpus = room["GPU"] if self._takes_gpus else 0.0
        if self._takes_gpus and self._device is not None and not gpus:
            raise InvalidInput(
                "device", self._device, "the Ray cluster has no GPU to spare", "give --device cpu"
            )
        # Ray takes a moment to tell what there is of a cluster that it just started.
        cores = core_count() if self._cluster.is_own else room["CPU"] // self._cores
        count = self._asked or min(int(gpus or cores), _MOST_WORKERS)
        if count < 1:
            raise InvalidInput(
                "workers",
                count,
                "the Ray cluster has no core to spare",
                "add machines, or end what uses them",
            )
        # Ray shows a worker the GPUs that it was given, and no others.
        device = "cuda" if gpus else self._device or "cpu"
        self._actors = [
            _Actor(
                number,
                self._cluster,
                device,
                self._cores,
                gpus=min(1.0, gpus / count),
                alone=self._nobody_is_ready,
            )
            for number in range(count)
        ]
        self._workers = self._actors
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _shut(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.to_thread(self._cluster.close)

    def _room(self) -> dict[str, float]:
        try:
            self._cluster.join()
        except RayUnusable as error:
            if self._address is None:
                raise
            raise InvalidInput(
                "ray-address",
                self._address,
                f"the cluster at {self._address} {error.problem}",
                error.remedy,
            ) from error
        return self._cluster.room()

    def _nobody_is_ready(self) -> bool:
        return not any(actor.ready for actor in self._actors)

    async def _look(self) -> None:
        """Notice at once when this machine's part of the cluster is gone, and all workers with it.

        Ray takes its time to say so: it waits for a machine that does not answer.
        """
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            keep_signals()
            if self._nobody_is_ready() or await asyncio.to_thread(lambda: self._cluster.alive):
                continue
            _log.error("the Ray cluster is gone")
            for actor in self._actors:
                actor.lose()


class _Source:
    """A bundle that is to be loaded: packed here, once for all workers."""

    def __init__(self, model: str) -> None:
        self._parcel = pack(model)
        self._lock = threading.Lock()
        self._reference: Any = None

    @property
    def reference(self) -> Any:
        """Where Ray keeps it, for as long as this object is there."""
        with self._lock:
            if self._reference is None:
                self._reference = put(self._parcel)
            return self._reference


class _Actor(Worker[_Source]):
    """One actor of Ray, wherever it is placed."""

    def __init__(
        self,
        number: int,
        cluster: RayCluster,
        device: str,
        cores: int,
        *,
        gpus: float,
        alone: Callable[[], bool],
    ) -> None:
        super().__init__(number)
        self._cluster = cluster
        self._device = device
        self._cores = cores
        self._gpus = gpus
        self._alone = alone
        self._ordering = threading.Lock()
        self._handle: Any = None
        self._pid = -1
        self._watching: Callable[[], None] | None = None
        self._tell_lost: Callable[[object], None] = _nobody

    @property
    def pid(self) -> int:
        return self._pid

    def start(self) -> Ready:
        # An order that waits for its turn still belongs to the process before this one.
        with self._ordering:
            self.end()
            self.keys = set()
            # What is left of a cluster that was lost must not be taken from those who still draw.
            if self._alone():
                self._cluster.join()
            ready = self._placed()
        if ready.version != t2i.__version__:
            raise InvalidInput(
                "ray-address",
                ready.version,
                f"a machine of the cluster has t2i {ready.version}, this one {t2i.__version__}",
                "install the same version on all of them",
            )
        self._pid = ready.pid
        return ready

    def _placed(self) -> Ready:
        """Have Ray start the process somewhere."""
        import ray

        kind = ray.remote(concurrency_groups={DRAW: 1, ORDER: 1, LIVE: 1})(Actor)
        placed = kind.options(num_cpus=self._cores, num_gpus=self._gpus)
        try:
            self._handle = placed.remote(self._device, self._cores)
            return self._told_ready(self._handle.ready.remote())
        except (ray.exceptions.RayError, ConnectionError) as error:
            if "No module named" in str(error) or "failed to import" in str(error):
                raise T2IError(
                    f"worker {self.number} cannot be started: a machine of the Ray cluster lacks "
                    "t2i or what it draws with; run there "
                    f"pip install 't2i[ray]=={t2i.__version__}'"
                ) from error
            reason = " ".join(str(error).split())[-300:]
            raise WorkerLost(f"worker {self.number} ended as it was started ({reason})") from error
        except (AttributeError, ImportError, TypeError, pickle.UnpicklingError) as error:
            raise T2IError(
                f"worker {self.number} cannot be understood: a machine of the Ray cluster has "
                f"another version of t2i; run there pip install 't2i[ray]=={t2i.__version__}'"
            ) from error

    def _told_ready(self, reference: Any) -> Ready:
        from ray.exceptions import GetTimeoutError

        for seconds in (_NOTE_SECONDS, _PLACE_SECONDS - _NOTE_SECONDS):
            try:
                return cast("Ready", _answer(reference, seconds))
            except GetTimeoutError:
                _log.warning("worker %d still waits for Ray to start it", self.number)
        needs = f"{self._cores} core" + (f" and {self._gpus:g} GPU" if self._gpus else "")
        raise T2IError(
            f"the Ray cluster has no place for worker {self.number}, which needs {needs}: "
            "give fewer --workers, or add machines"
        )

    def inspect(self, source: _Source) -> Described:
        return cast("Described", self._order(Inspect(""), source))

    def load(self, source: _Source) -> Described:
        return cast("Described", self._order(Load(""), source))

    def unload(self, key: str) -> None:
        self._order(Unload(key), None)

    def _order(self, order: Order, source: _Source | None) -> object:
        with self._ordering, self._translated():
            method = self._handle.obey.options(concurrency_group=ORDER)
            parcel = None if source is None else source.reference
            return _answer(method.remote(pickle.dumps(order), parcel))

    def draw(self, job: Job) -> Batch:
        with self._translated():
            method = self._handle.draw.options(concurrency_group=DRAW)
            batch = _answer(method.remote(pickle.dumps(job, pickle.HIGHEST_PROTOCOL)))
        assert isinstance(batch, Batch)
        return batch

    def watch(self, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]) -> None:
        def ended() -> None:
            # Once, whoever notices first; and not for a process that was there before.
            if self._watching is ended:
                self._watching = None
                self.ready = False
                lost()

        def told(_: object) -> None:
            with contextlib.suppress(RuntimeError):
                # Not when the loop is closed: nobody listens then.
                loop.call_soon_threadsafe(ended)

        self._watching = ended
        self._tell_lost = told
        try:
            living = self._handle.live.options(concurrency_group=LIVE).remote()
            living.future().add_done_callback(told)
        except Exception:
            # It is lost already.
            told(None)

    def lose(self) -> None:
        """Take it that it is gone. On the loop."""
        if self._watching is not None:
            self._watching()

    def stop_watching(self) -> None:
        self._watching = None

    def end(self) -> None:
        self.ready = False
        handle, self._handle = self._handle, None
        if handle is not None and self._cluster.alive:
            import ray

            with contextlib.suppress(Exception):
                # It is gone already, or the cluster is.
                ray.kill(handle)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Have what Ray says as what a worker is to say.

        Raises:
            WorkerLost: it ended, or cannot be reached; then it is not asked again, and replaced.
            RuntimeError: there is a fault in what it does.
        """
        from ray.exceptions import RayError, RayTaskError

        handle, gone = self._handle, WorkerLost(f"worker {self.number} (process {self.pid}) ended")
        tell_lost = self._tell_lost
        try:
            if handle is None:
                raise gone
            yield
        except RayTaskError as error:
            raise RuntimeError(str(error)) from error
        except (RayError, ConnectionError) as error:
            # Ray may say so when the next process is there already, which is none the worse for it.
            if self._handle is handle:
                self.ready = False
            tell_lost(None)
            raise gone from error


def _answer(reference: Any, timeout: float | None = None) -> object:
    import ray

    answer = pickle.loads(ray.get(reference, timeout=timeout))
    if isinstance(answer, Exception):
        raise answer
    return answer


def _nobody(_: object) -> None:
    """Tell nobody."""
