"""Ray as this project uses it: a cluster of our own on this machine, or one that is there already.

A cluster of our own is nobody else's: it listens on the loopback address only, asks whoever
connects for a token, tells nobody that it is used, deletes its files when it is closed, and
ends with this process however that ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from t2i.errors import InvalidInput
from t2i.extras import needs_extra

__all__ = ["RayCluster", "check_ray_address", "keep_signals"]

# Pictures and bundles pass through it and leave at once. What is larger goes through a file.
_STORE_BYTES = 128 * 1024 * 1024
# Ray's sockets lie some 65 characters below its folder, and their names may have 107.
_LONGEST_FOLDER = 30
_ROOT = Path(__file__).resolve().parents[1]
_LOOPBACK = "127.0.0.1"
_ANSWER_SECONDS = 1.0
# A given cluster's head may be gone for so long: until then workers elsewhere go on, and a while
# after it Ray would end this process.
_HEAD_SECONDS = 30.0
_REMEDY = (
    "give HOST:PORT of a running cluster of the same version of Ray that this machine is part of "
    "(ray start --address HOST:PORT makes it one), or 'auto'"
)


class RayCluster:
    """A Ray cluster that this process draws on. All methods wait; call them in threads.

    Args:
        address: `HOST:PORT` of a cluster that this machine is part of, or `"auto"` for the one that
            it is part of; None for one of our own on this machine.
        cores: that our own cluster lends out.
        gpus: the same for GPUs; None for all that there are.

    Raises:
        InvalidInput: the address is of another kind.
        ExtraMissing: Ray is not installed.
    """

    def __init__(self, address: str | None, *, cores: int, gpus: int | None = None) -> None:
        if address is not None:
            check_ray_address(address)
        with needs_extra("ray"):
            if importlib.util.find_spec("ray") is None:
                raise ModuleNotFoundError("No module named 'ray'", name="ray")
        self._address = address
        self._cores = cores
        self._gpus = gpus
        self._folder: Path | None = None
        self._ports: tuple[tuple[str, int], tuple[str, int]] | None = None
        self._head_seen = 0.0
        self._lock = threading.Lock()
        self._closed = False
        # On Linux what Ray starts ends with the thread that started it: one thread for its life.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray")

    @property
    def is_own(self) -> bool:
        """Whether the cluster is started and ended by this process."""
        return self._address is None

    def join(self) -> None:
        """Start or join the cluster, unless that was done; again when it was lost.

        What was on a cluster that was lost is gone.

        Raises:
            InvalidInput: it cannot be joined.
            OSError: it cannot be started.
        """
        with self._lock:
            if self._closed:
                raise ConnectionError("the cluster was left")
            if not self._answers():
                self._thread.submit(self._leave).result()
                self._thread.submit(self._join).result()

    @property
    def alive(self) -> bool:
        """Whether what was joined is still there, as far as this machine can tell."""
        return self._answers()

    def room(self) -> dict[str, float]:
        """Return what nobody uses of the cluster: `"CPU"` and `"GPU"`."""
        import ray

        free = ray.available_resources()
        return {kind: float(free.get(kind, 0.0)) for kind in ("CPU", "GPU")}

    def close(self) -> None:
        """Leave the cluster, and end it if it is our own."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._thread.submit(self._leave).result()
                self._thread.shutdown()

    def _answers(self) -> bool:
        if self._ports is None:
            return False
        ours, head = self._ports
        now = time.monotonic()
        if _listens(head):
            self._head_seen = now
        patience = 0.0 if self.is_own else _HEAD_SECONDS
        return now - self._head_seen <= patience and _listens(ours)

    def _join(self) -> None:
        if self._address is None:
            self._start()
        else:
            _quietly()
            import ray

            try:
                ray.init(address=self._address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                reason = " ".join(str(error).split())[:200]
                raise InvalidInput(
                    "ray-address",
                    self._address,
                    f"the cluster at {self._address} cannot be joined ({reason})",
                    _REMEDY,
                ) from error
        self._look()

    def _start(self) -> None:
        self._folder = _short_folder()
        with _environment_of_our_own():
            _quietly()
            import ray
            from ray._private import ray_constants

            # A machine that is all of a cluster is reached by the loopback address. Ray has no
            # other word for it than this, which a variable would set before its first import.
            clusters = ray_constants.ENABLE_RAY_CLUSTER
            ray_constants.ENABLE_RAY_CLUSTER = False
            try:
                ray.init(
                    address="local",
                    num_cpus=self._cores,
                    num_gpus=self._gpus,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    log_to_driver=False,
                    configure_logging=False,
                    _node_ip_address=_LOOPBACK,
                    _temp_dir=str(self._folder),
                )
            except Exception as error:
                # Ray has no word of its own for it: too slow a machine, a full disk, anything.
                raise OSError(f"Ray cannot be started: {error}") from error
            finally:
                ray_constants.ENABLE_RAY_CLUSTER = clusters
            if ray.util.get_node_ip_address() != _LOOPBACK:
                self._leave()
                raise OSError("Ray would listen to other machines")

    def _look(self) -> None:
        import ray

        context = ray.get_runtime_context()
        ours = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
        host, _, port = str(context.gcs_address).rpartition(":")
        node = (str(ours["NodeManagerAddress"]), int(ours["NodeManagerPort"]))
        self._head_seen = time.monotonic()
        self._ports = (node, (host.strip("[]"), int(port)))

    def _leave(self) -> None:
        self._ports = None
        if "ray" in sys.modules:
            import ray

            with contextlib.suppress(Exception):
                # Whatever it says about what is left of a cluster, it is done with it.
                ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def check_ray_address(address: str) -> None:
    """Check how the address of a Ray cluster is written.

    Raises:
        InvalidInput: it is neither `HOST:PORT` nor `"auto"`.
    """
    host, colon, port = address.rpartition(":")
    if address != "auto" and not (
        colon and host and "/" not in address and port.isascii() and port.isdecimal()
    ):
        raise InvalidInput("ray-address", address, f"{address} is not HOST:PORT", _REMEDY)


def keep_signals() -> None:
    """Let SIGTERM be handled as this program said, not by Ray. Does nothing but in the main thread.

    Joining a cluster puts a handler of Ray's in the place of Python's. It writes where the program
    was, and ends it with an abort three seconds later, however well it is about to end by itself.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
        signal.siginterrupt(signal.SIGTERM, False)


def _quietly() -> None:
    # Whose loss matters is told by whoever uses the cluster.
    logging.getLogger("ray").setLevel(logging.ERROR)


def _short_folder() -> Path:
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_FOLDER:
        base = "/tmp"
    return Path(tempfile.mkdtemp(prefix="t2i-ray-", dir=base))


@contextlib.contextmanager
def _environment_of_our_own() -> Iterator[None]:
    """Set what Ray and the processes that it starts read from the environment."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Else whatever runs on this machine goes before the workers.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    before = os.environ.get("PYTHONPATH")
    # Workers shall have the very code that this process has.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), before)))
    # A terminal that is closed is our matter, not that of what Ray starts.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _listens(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, _ANSWER_SECONDS):
            return True
    except OSError:
        return False
