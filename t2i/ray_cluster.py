"""Ray as this project uses it: a cluster of our own on this machine, or one that is there already.

A cluster of our own is nobody else's: it listens on the loopback address only, asks whoever
connects for a token, tells nobody that it is used, deletes its files when it is closed, and
ends with this process however that ends.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from t2i.errors import InvalidInput, T2IError, shown
from t2i.extras import needs_extra
from t2i.scratch import Scratch

__all__ = ["RayCluster", "RayUnusable", "check_ray_address", "keep_signals"]

# Pictures and bundles pass through it and leave at once. What does not fit goes to the disk.
_LEAST_STORE_BYTES = 128 * 1024 * 1024
# Ray's sockets lie some 65 characters below its folder, whose own name has 17 with its slash, and
# their names may have 107.
_LONGEST_PARENT = 24
_ROOT = Path(__file__).resolve().parents[1]
_LOOPBACK = "127.0.0.1"
_CLIENT, _CLIENT_PORT = "ray://", "10001"
_ANSWER_SECONDS, _REACH_SECONDS, _SIGNAL_SECONDS = 1.0, 5.0, 0.05
# Ray gives itself 30 seconds, which on a machine that is busy with other things may be too few.
_STARTS = 3
# A given cluster's head may be gone for so long: until then workers elsewhere go on, and a while
# after it Ray would end this process.
_HEAD_SECONDS = 30.0
_REMEDY = (
    "give HOST:PORT of a running cluster of the same version of Ray that this machine is part of "
    "(ray start --address HOST:PORT makes it one), or 'auto', or leave it out to start a Ray here"
)
_CLIENT_REMEDY = "check the address, or leave it out to start a Ray on this machine"
_TOKEN_REMEDY = (
    "set RAY_AUTH_MODE to token, and RAY_AUTH_TOKEN to what `ray get-auth-token` prints on its head"
)
# What anybody may ask: a method, and a request of it as it is sent.
_PING = ("/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06")
_WHO_ARE_YOU = ("/ray.rpc.NodeInfoGcsService/GetClusterId", b"")
_OWN_RAY = {
    # It tells its makers nothing.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers are what the machine is for: by default they yield to every other program.
    "RAY_worker_niceness": "0",
    # Else it says at every start that this will change some day.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayUnusable(T2IError):
    """There is no Ray to draw on.

    Attributes:
        problem: what is wrong with it, in part of a line.
        remedy: what would be right.
    """

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(where, problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return "{}: {}; {}".format(*self.args)


class RayCluster:
    """A Ray cluster that this process draws on. All methods wait; call them in threads.

    Args:
        address: `HOST:PORT` of a cluster that this machine is part of, `"auto"` for the one that it
            is part of, or `ray://HOST:PORT` of one elsewhere; None for one of our own on this
            machine.
        cores: that our own cluster lends out.
        gpus: the same for GPUs; None for all that there are.
        store_bytes: what our own should be able to keep in memory.

    Raises:
        InvalidInput: the address is of another kind.
        ExtraMissing: Ray is not installed.
    """

    def __init__(
        self, address: str | None, *, cores: int, gpus: int | None = None, store_bytes: int = 0
    ) -> None:
        if address is not None:
            check_ray_address(address, clients=True)
        with needs_extra("ray"):
            if importlib.util.find_spec("ray") is None:
                raise ModuleNotFoundError("No module named 'ray'", name="ray")
        self._address = address
        self._cores = cores
        self._gpus = gpus
        self._store_bytes = max(_LEAST_STORE_BYTES, store_bytes)
        self._borrowed = False
        self._joined = False
        self._scratch: Scratch | None = None
        self._set: tuple[str, ...] = ()
        self._ports: tuple[tuple[str, int], tuple[str, int]] | None = None
        self._head_seen = 0.0
        self._lock = threading.Lock()
        self._closed = False
        # On Linux what Ray starts ends with the thread that started it: one thread for its life.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray")

    @classmethod
    def usual(cls, address: str | None, *, cores: int, store_bytes: int = 0) -> RayCluster:
        """Return the cluster that whoever knows Ray expects.

        Args:
            address: as for a cluster; None for the one that this process is connected to, else for
                what the environment names in `RAY_ADDRESS`, else for one of our own.
            cores: as for a cluster.
            store_bytes: as for a cluster.

        Raises:
            InvalidInput: the address is of another kind.
            ExtraMissing: Ray is not installed.
            RayUnusable: there is an address, and this process is connected to a Ray already.
        """
        with needs_extra("ray"):
            import ray
        if not ray.is_initialized():
            address = address or os.environ.get("RAY_ADDRESS") or None
            own = address in (None, "local")
            return cls(None if own else address, cores=cores, store_bytes=store_bytes)
        if address is not None:
            raise _taken(f"Ray at {address}")
        cluster = cls(None, cores=cores)
        cluster._borrowed = True
        return cluster

    @property
    def is_own(self) -> bool:
        """Whether the cluster is started and ended by this process."""
        return self._address is None and not self._borrowed

    @property
    def where(self) -> str:
        """What to call it in messages."""
        if self._borrowed:
            return "the Ray of this process"
        return "a Ray of this machine" if self._address is None else f"Ray at {self._address}"

    def join(self) -> None:
        """Start or join the cluster, unless that was done; again when it was lost.

        What was on a cluster that was lost is gone. SIGTERM is handled as it was before.

        Raises:
            RayUnusable: it cannot be started or joined.
            ConnectionError: it was left.
        """
        with self._lock:
            if self._closed:
                raise ConnectionError("the cluster was left")
            if not self._answers():
                if self._borrowed:
                    raise RayUnusable(self.where, "has ended", "connect to one again")
                self._do(self._leave)
                self._do(self._join)

    @property
    def alive(self) -> bool:
        """Whether what was joined is still there, as far as this machine can tell."""
        return self._answers()

    def room(self) -> dict[str, float]:
        """Return what nobody uses of the cluster: `"CPU"` and `"GPU"`."""
        import ray

        return _counted(ray.available_resources())

    def size(self) -> dict[str, float]:
        """Return what there is in all of the cluster: `"CPU"` and `"GPU"`."""
        import ray

        return _counted(ray.cluster_resources())

    def close(self) -> None:
        """Leave the cluster, and end it if it is our own; may be called again."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._do(self._leave)
                self._thread.shutdown()

    def _do(self, what: Callable[[], None]) -> None:
        """Do it in the thread of Ray; handlers of Ray's do not stay meanwhile."""
        doing = self._thread.submit(what)
        while not wait({doing}, _SIGNAL_SECONDS).done:
            keep_signals()
        keep_signals()
        doing.result()

    def _answers(self) -> bool:
        if not self._joined and not self._borrowed:
            return False
        if self._ports is None:
            import ray

            return bool(ray.is_initialized())
        ours, head = self._ports
        now = time.monotonic()
        if _listens(head):
            self._head_seen = now
        patience = 0.0 if self.is_own else _HEAD_SECONDS
        return now - self._head_seen <= patience and _listens(ours)

    def _join(self) -> None:
        if self._address is not None:
            _check_reachable(self._address)
        _quietly()
        import ray

        if ray.is_initialized():
            raise _taken(self.where)
        if self._address is None:
            self._start()
        else:
            self._join_given(self._address)

    def _join_given(self, address: str) -> None:
        import ray

        # Another machine's client of Ray sets up its own log; the server's is its own matter.
        log = {} if address.startswith(_CLIENT) else {"configure_logging": False}
        if address != "auto" and _asks_for_token(address):
            raise RayUnusable(self.where, "asks for its token", _TOKEN_REMEDY)
        self._joined = True
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **log)
            if not address.startswith(_CLIENT):
                self._look()
        except Exception as error:
            # Ray has no word of its own for it: another version, another token, anything.
            self._leave()
            problem = f"cannot be joined ({_line(error)})"
            raise RayUnusable(self.where, problem, _remedy(address)) from error

    def _start(self) -> None:
        for left in reversed(range(_STARTS)):
            try:
                self._start_once()
                return
            except Exception as error:
                # Ray has no word of its own for it: too slow a machine, a full disk, anything.
                folder = None if self._scratch is None else self._scratch.path
                self._leave(folder)
                if isinstance(error, RayUnusable):
                    raise
                if not left or "timed out" not in str(error).lower():
                    raise RayUnusable(
                        self.where,
                        f"cannot be started ({_line(error)})",
                        "see whether it has memory and disk to spare",
                    ) from error

    def _start_once(self) -> None:
        import ray
        from ray._private import ray_constants

        self._joined = True
        parent = Path(tempfile.gettempdir())
        if len(str(parent)) > _LONGEST_PARENT:
            parent = Path("/tmp")
        self._scratch = Scratch("t2i-ray-", parent)
        self._guard()
        # A machine that is all of a cluster is reached by the loopback address. Ray has no other
        # word for it than this, which a variable would set before its first import.
        clusters = ray_constants.ENABLE_RAY_CLUSTER
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            with _environment_of_our_own():
                ray.init(
                    address="local",
                    num_cpus=self._cores,
                    num_gpus=self._gpus,
                    include_dashboard=False,
                    object_store_memory=self._store_bytes,
                    log_to_driver=False,
                    configure_logging=False,
                    _node_ip_address=_LOOPBACK,
                    _temp_dir=str(self._scratch.path),
                )
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = clusters
        if ray.util.get_node_ip_address() != _LOOPBACK:
            raise RayUnusable(
                self.where,
                "would listen to other machines",
                "leave the variables of Ray that name addresses unset",
            )
        self._look()

    def _look(self) -> None:
        import ray

        context = ray.get_runtime_context()
        ours = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
        host, _, port = str(context.gcs_address).rpartition(":")
        node = (str(ours["NodeManagerAddress"]), int(ours["NodeManagerPort"]))
        self._head_seen = time.monotonic()
        self._ports = (node, (host.strip("[]"), int(port)))

    def _leave(self, failed: Path | None = None) -> None:
        """Give back all that was taken; `failed` is the folder of a Ray that did not come up."""
        self._ports = None
        if self._joined:
            import ray

            with suppress(Exception):
                # Whatever it says about what is left of a cluster, it is done with it.
                ray.shutdown()
            self._joined = False
        if failed is not None:
            _end_processes_of(failed)
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None
        for name in self._set:
            os.environ.pop(name, None)
        if self._set:
            self._set = ()
            _read_guard_again()

    def _guard(self) -> None:
        """Have our own Ray ask for a token; what the user has set stays as it is.

        Whoever connects to it from this process needs it, for as long as it lives.
        """
        if "RAY_AUTH_MODE" not in os.environ:
            new = {"RAY_AUTH_MODE": "token"}
            if "RAY_AUTH_TOKEN" not in os.environ:
                new["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            os.environ.update(new)
            self._set = tuple(new)
            _read_guard_again()


def check_ray_address(address: str, *, clients: bool = False) -> None:
    """Check how the address of a Ray cluster is written.

    Args:
        address: what was given.
        clients: whether this machine need not be part of the cluster.

    Raises:
        InvalidInput: it is neither `HOST:PORT` nor `"auto"`, nor `ray://HOST[:PORT]` for clients.
    """
    host, port = _parts(address)
    good = host and "/" not in host and port.isascii() and port.isdecimal()
    good = good and 0 < int(port) < 1 << 16
    if address != "auto" and (not good or (address.startswith(_CLIENT) and not clients)):
        raise InvalidInput(
            "ray-address",
            address,
            f"{shown(address)} is no address of a Ray",
            "give auto, ray://HOST:PORT or HOST:PORT" if clients else _REMEDY,
        )


def keep_signals() -> None:
    """Let SIGTERM be handled as this program said, not by Ray. Does nothing but in the main thread.

    Joining a cluster puts a handler of Ray's in the place of Python's. It writes where the program
    was, and ends it with an abort three seconds later, however well it is about to end by itself.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
        signal.siginterrupt(signal.SIGTERM, False)


def _parts(address: str) -> tuple[str, str]:
    """Return host and port, as far as they are there."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host and address.startswith(_CLIENT):
        host, port = port, _CLIENT_PORT
    return host.removeprefix("[").removesuffix("]"), port


def _check_reachable(address: str) -> None:
    """Ask the port: Ray itself tries for minutes, or ends the process."""
    if address == "auto":
        return
    host, port = _parts(address)
    try:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
    except OSError as error:
        raise RayUnusable(
            f"Ray at {address}",
            f"cannot be reached ({error.strerror or error})",
            _remedy(address),
        ) from error


def _asks_for_token(address: str) -> bool:
    """Ask a little thing: of a token that is missing or wrong Ray itself tells late, or never."""
    import grpc

    method, asked = _PING if address.startswith(_CLIENT) else _WHO_ARE_YOU
    host, port = _parts(address)
    # With the token and the certificates that Ray would use.
    utilities: Any = importlib.import_module("ray._private.grpc_utils")
    channel = utilities.init_grpc_channel(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    try:
        channel.unary_unary(method)(asked, timeout=_REACH_SECONDS)
    except grpc.RpcError as error:
        # Whatever else is wrong is told by Ray.
        return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
    finally:
        channel.close()
    return False


def _remedy(address: str) -> str:
    if address.startswith(_CLIENT):
        return _CLIENT_REMEDY
    return f"{_REMEDY}; if it asks for a token, {_TOKEN_REMEDY}" if address == "auto" else _REMEDY


def _taken(where: str) -> RayUnusable:
    return RayUnusable(
        where,
        "this process is connected to a Ray already",
        "leave out the address to use that, or end the connection with ray.shutdown()",
    )


def _quietly() -> None:
    # Whose loss matters is told by whoever uses the cluster.
    logging.getLogger("ray").setLevel(logging.ERROR)


def _read_guard_again() -> None:
    """Have this process's Ray notice a change: it reads its mode and its token once."""
    raylet: Any = importlib.import_module("ray._raylet")
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def _end_processes_of(folder: Path) -> None:
    """End what a Ray has started that did not come up: Ray forgets it until this process ends."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (
                int(process.name) != os.getpid()
                and os.fsencode(folder) in (process / "cmdline").read_bytes()
            ):
                os.kill(int(process.name), signal.SIGKILL)


def _counted(resources: dict[str, float]) -> dict[str, float]:
    return {kind: float(resources.get(kind, 0.0)) for kind in ("CPU", "GPU")}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _environment_of_our_own() -> Iterator[None]:
    """Set what Ray and the processes that it starts read from the environment.

    They keep it; this process does not. What the user has set stays as it is.
    """
    # Workers shall have the very code that this process has.
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    new = {name: value for name, value in _OWN_RAY.items() if name not in os.environ}
    new["PYTHONPATH"] = path
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    # A terminal that is closed is our matter, not that of what Ray starts.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _listens(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, _ANSWER_SECONDS):
            return True
    except OSError:
        return False
