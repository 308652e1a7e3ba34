"""A Ray to draw on: one that is there, or one that is started for a job on this machine alone."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i.batch.errors import BatchError
from t2i.batch.scratch import Scratch
from t2i.errors import InvalidInput, shown
from t2i.extras import needs_extra

__all__ = ["Cluster", "join"]

_CLIENT = "ray://"
_CLIENT_PORT = 10001
_REACH_SECONDS = 5.0
# Ray gives itself 30 seconds, which on a machine that is busy with other things may be too few.
_STARTS = 3
# Ray asks for 75 MB at least; what does not fit goes to the disk.
_LEAST_STORE_BYTES = 100 << 20
# The names of sockets may have 107 letters, and Ray's own part of them is about 70 long.
_LONGEST_PARENT = 20
_OWN_RAY = {
    # It tells its makers nothing.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers are what the machine is for: by default they yield to every other program.
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(slots=True)
class Cluster:
    """A Ray that this process is connected to.

    Attributes:
        where: what to call it in messages.
        cpus: its processors.
        gpus: its graphics processors.
        joined: whether this connection was made here, and ends here.
        scratch: the files of a Ray that was started here; None for any other.
    """

    where: str
    cpus: int
    gpus: int
    joined: bool
    scratch: Scratch | None = None

    def close(self) -> None:
        """End the connection, and the Ray if it was started for it; may be called again."""
        import ray

        if self.joined:
            self.joined = False
            ray.shutdown()
        if self.scratch is not None:
            self.scratch.close()


def join(address: str | None = None, *, cpus: int | None = None, store_bytes: int = 0) -> Cluster:
    """Connect to a Ray, or start one.

    Args:
        address: `"auto"` for the one of this machine, `"ray://HOST:PORT"` for one elsewhere, or
            `"HOST:PORT"` for that to which this machine belongs; None for the one that this process
            is connected to, else for what the environment names in `RAY_ADDRESS`, else for a new
            one, which listens on this machine alone and ends with `Cluster.close`.
        cpus: processors of a new one; None for as many as this process may use.
        store_bytes: what a new one should be able to keep in memory.

    Raises:
        ExtraMissing: if ray is not installed.
        InvalidInput: if the address is none.
        BatchError: if there is no Ray, it cannot be used, or this process uses another.
    """
    with needs_extra("ray", or_else="draw without --engine ray"):
        import ray
    # Ray tells at every start how it guards itself.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    if ray.is_initialized():
        if address is not None:
            raise BatchError(
                f"Ray at {address}: this process is connected to a Ray already; leave out the "
                "address to use that, or end the connection with ray.shutdown()"
            )
        return _described("the Ray of this process", joined=False)
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address in (None, "local"):
        return _started(cpus, store_bytes)
    _check_reachable(str(address))
    with _told(f"Ray at {address}"):
        ray.init(address=address, log_to_driver=False, logging_level="error")
        return _described(f"Ray at {address}", joined=True)


def _described(where: str, *, joined: bool) -> Cluster:
    import ray

    there = ray.cluster_resources()
    return Cluster(where, int(there.get("CPU", 0)), int(there.get("GPU", 0)), joined)


def _started(cpus: int | None, store_bytes: int) -> Cluster:
    from t2i.compute import core_count

    where = "a Ray of this machine"
    for left in reversed(range(_STARTS)):
        try:
            with _told(where), _environment(_OWN_RAY), _loopback():
                return _begun(where, cpus or core_count(), store_bytes)
        except BatchError as error:
            if not left or "timed out" not in str(error):
                raise
    raise AssertionError("one of them was the last")


def _begun(where: str, cpus: int, store_bytes: int) -> Cluster:
    import ray

    parent = Path(tempfile.gettempdir())
    scratch = Scratch(
        "t2i-job-ray-", parent if len(str(parent)) <= _LONGEST_PARENT else Path("/tmp")
    )
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=max(_LEAST_STORE_BYTES, store_bytes),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _temp_dir=str(scratch.path),
        )
        cluster = _described(where, joined=True)
    except BaseException:
        ray.shutdown()
        _end_processes_of(scratch.path)
        scratch.close()
        raise
    cluster.scratch = scratch
    return cluster


def _end_processes_of(folder: Path) -> None:
    """End what a Ray has started that did not come up: Ray forgets it until this process ends."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (
                int(process.name) != os.getpid()
                and os.fsencode(folder) in (process / "cmdline").read_bytes()
            ):
                os.kill(int(process.name), signal.SIGKILL)


def _check_reachable(address: str) -> None:
    """Ask the port: Ray itself tries for minutes, or ends the process."""
    if address == "auto":
        return
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host and address.startswith(_CLIENT):
        host, port = port, str(_CLIENT_PORT)
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InvalidInput(
            "ray-address",
            address,
            f"{shown(address)} is no address of a Ray",
            "give auto, ray://HOST:PORT or HOST:PORT",
        )
    try:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
    except OSError as error:
        raise BatchError(
            f"Ray at {address}: cannot be reached ({error.strerror or error}); check the address, "
            "or leave it out to start a Ray on this machine"
        ) from error


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Tell in one line why Ray does not start or answer."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[0] if lines else type(error).__name__
        raise BatchError(f"{where}: cannot be used ({said}); see Ray's own logs") from error


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set what is not set; processes that are started in the block keep it."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@contextmanager
def _loopback() -> Iterator[None]:
    """Have a Ray that is started in the block listen on this machine only.

    Ray does that by itself where it knows no clusters (macOS). It has no option for it; without
    this it listens everywhere, behind its token.
    """
    try:
        constants: Any = importlib.import_module("ray._private.ray_constants")
    except ImportError:
        yield
        return
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
