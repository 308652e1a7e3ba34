from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from t2i.errors import InvalidInput
from t2i.extras import ExtraMissing
from t2i.ray_cluster import RayCluster, RayUnusable, check_ray_address, keep_signals
from t2i.scratch import Scratch

ray = pytest.importorskip("ray")

ROOT = Path(__file__).resolve().parents[2]
NONE = ["birds", "ray://", "ray://host:x", "host:", "host:0", "host:65536", "host:x", ":6379", "",
        "http://host:80"]  # fmt: skip


@pytest.mark.parametrize("address", NONE)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="give auto, ray://HOST:PORT or HOST:PORT"):
        RayCluster(address, cores=1)


@pytest.mark.parametrize("address", [*NONE, "ray://host:10001", "ray://host"])
def test_who_must_be_part_of_a_cluster_is_not_offered_clients(address: str) -> None:
    with pytest.raises(InvalidInput, match=r"is no address of a Ray; give HOST:PORT of a running"):
        check_ray_address(address)


@pytest.mark.parametrize("address", ["auto", "host:6379", "[::1]:6379"])
def test_an_address_that_is_one_is_taken_by_all(address: str) -> None:
    check_ray_address(address)
    check_ray_address(address, clients=True)
    check_ray_address("ray://host", clients=True)
    check_ray_address("ray://host:10001", clients=True)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_ray_that_is_not_there_is_told_at_once(form: str) -> None:
    with socket.socket() as bound:
        # Nobody listens at it, and nobody else gets it.
        bound.bind(("127.0.0.1", 0))
        address = form.format(bound.getsockname()[1])
        cluster = RayCluster.usual(address, cores=1)
        with pytest.raises(RayUnusable, match=f"^Ray at {address}: cannot be reached"):
            cluster.join()
        assert not cluster.alive
        cluster.close()
        with pytest.raises(ConnectionError):
            cluster.join()


def test_the_environment_names_the_ray_where_no_address_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "birds")
    with pytest.raises(InvalidInput, match="'birds' is no address of a Ray"):
        RayCluster.usual(None, cores=1)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert RayCluster.usual(None, cores=1).is_own
    # A server asks for no such variable.
    monkeypatch.setenv("RAY_ADDRESS", "birds")
    assert RayCluster(None, cores=1).is_own


def test_a_ray_that_this_process_has_is_used_and_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    cluster = RayCluster.usual(None, cores=1)
    cluster.join()
    assert cluster.alive and not cluster.is_own and cluster.where == "the Ray of this process"
    cluster.close()
    with pytest.raises(RayUnusable, match=r"connected to a Ray already; leave out the address"):
        RayCluster.usual("auto", cores=1)
    other = RayCluster(None, cores=1)
    with pytest.raises(RayUnusable, match="connected to a Ray already"):
        other.join()
    other.close()
    assert ended == []


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExtraMissing, match=r"pip install 't2i\[ray\]'"):
        RayCluster.usual(None, cores=1)
    with pytest.raises(ExtraMissing, match=r"pip install 't2i\[ray\]'"):
        RayCluster(None, cores=1)


def set_by_ray() -> dict[str, str]:
    ours = ("RAY_AUTH", "RAY_USAGE", "RAY_worker", "RAY_ACCEL", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name.startswith(ours)}


@pytest.mark.parametrize(
    ("reason", "times"),
    [("The current node timed out during startup.", 3), ("No space left\non device", 1)],
)
def test_a_ray_that_was_too_slow_is_started_again_and_nothing_is_left_of_it(
    reason: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, started, folders = set_by_ray(), [], []

    def init(*, _temp_dir: str, **options: object) -> None:
        assert set_by_ray()["RAY_worker_niceness"] == "0"
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["RAY_AUTH_MODE"] == "token" and os.environ["RAY_AUTH_TOKEN"]
        assert os.environ["PYTHONPATH"].startswith(str(ROOT))
        # What Ray leaves running when it gives up.
        code = "import time; print(flush=True); time.sleep(600)"
        left = subprocess.Popen([sys.executable, "-c", code, _temp_dir], stdout=subprocess.PIPE)
        assert left.stdout is not None and left.stdout.readline()
        started.append(left)
        folders.append(Path(_temp_dir))
        assert folders[-1].is_dir()
        raise RuntimeError(reason)

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(ray, "init", init)
    cluster = RayCluster(None, cores=1)
    try:
        with pytest.raises(RayUnusable) as told:
            cluster.join()
    finally:
        cluster.close()
    assert str(told.value) == (
        f"a Ray of this machine: cannot be started ({' '.join(reason.split())}); see whether it "
        "has memory and disk to spare"
    )
    assert len(started) == times == len(set(folders))
    for process in started:
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert not any(folder.exists() for folder in folders)
    monkeypatch.undo()
    assert set_by_ray() == before


def test_a_ray_that_would_listen_to_others_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    folders, ended = [], []
    monkeypatch.setattr(ray, "init", lambda *, _temp_dir, **_: folders.append(Path(_temp_dir)))
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.5")
    cluster = RayCluster(None, cores=1)
    with pytest.raises(RayUnusable, match="would listen to other machines"):
        cluster.join()
    cluster.close()
    assert ended == [True] and len(folders) == 1 and not folders[0].exists()


def test_our_signal_handler_is_put_back() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    try:
        # What somebody else's library does, behind Python's back.
        ctypes.CDLL(None).signal(int(signal.SIGTERM), ctypes.c_void_p(1))
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == []
        keep_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


OWNER = """
import json, os, signal, sys
from t2i.ray_cluster import RayCluster
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append("here"))
before = dict(os.environ)
cluster = RayCluster(None, cores=1, gpus=0)
cluster.join()
os.kill(os.getpid(), signal.SIGTERM)
print(json.dumps({
    "told": told,
    # With its own handler Ray calls ours too, but sets an alarm that ends the process.
    "alarm": signal.alarm(0),
    "new": [name for name in os.environ if os.environ[name] != before.get(name)],
    "folder": str(cluster._scratch.path),
    "sizes": [cluster.size(), cluster.room()],
    "alive": cluster.alive,
}), flush=True)
sys.stdin.read()
"""


def test_an_owner_of_a_ray_keeps_its_signals_and_leaves_nothing_when_it_is_killed() -> None:
    environment = {name: value for name, value in os.environ.items() if "RAY_" not in name}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=ROOT, env=environment,
    )  # fmt: skip
    try:
        assert owner.stdout is not None
        found = json.loads(owner.stdout.readline())
        assert found["told"] == ["here"] and found["alarm"] == 0 and found["alive"]
        assert found["sizes"][0] == {"CPU": 1.0, "GPU": 0.0}
        # The token is what its own connections need; Ray's import sets the other two.
        assert set(found["new"]) <= {
            "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_CLIENT_MODE", "PYTHONBREAKPOINT",
        }  # fmt: skip
        assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= set(found["new"])
        below = psutil.Process(owner.pid).children(recursive=True)
        raylet = next(process for process in below if process.name() == "raylet")
        assert raylet.nice() == psutil.Process(owner.pid).nice()
        assert raylet.environ()["RAY_worker_niceness"] == "0"
        agents = [process for process in below if "Agent" in "".join(process.cmdline())]
    finally:
        owner.kill()
        owner.communicate()
    for agent in agents:
        # They find out by themselves, but a minute later.
        agent.kill()
    _, left = psutil.wait_procs(below, timeout=120)
    assert left == []
    folder = Path(found["folder"])
    assert folder.is_dir(), "who is killed removes nothing"
    Scratch("t2i-ray-", folder.parent).close()
    assert not folder.exists(), "the next one does"


def test_ray_is_kept_quiet() -> None:
    cluster = RayCluster(None, cores=1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RayUnusable):
        patch.setattr(ray, "is_initialized", lambda: True)
        cluster.join()
    assert logging.getLogger("ray").level == logging.ERROR
