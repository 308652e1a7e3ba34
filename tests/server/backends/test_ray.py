"""Actors of Ray: the contract of a pool, on a cluster of our own and on one that was there."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from click.testing import CliRunner

from server.backends import Batch, Described, Drawn, Item, WorkerLost, model_key
from server.backends.actor import Actor
from server.backends.ray import RayBackend, _Actor
from server.backends.worker import Inspect, Job, Load, Ready
from server.cli import main
from server.settings import Settings
from t2i.client import Client
from t2i.conditions import Label
from t2i.errors import BundleError, InvalidInput, T2IError
from t2i.parcels import pack
from t2i.pipeline import Pipeline
from t2i.ray_cluster import RayCluster
from tests.server.backends import contract
from tests.server.backends.contract import alive, drawn, until
from tests.server.digits import flip_a_bit, save_digits
from tests.server.test_cli import COMMAND, ROOT, wait_until_serving

ONE = Label(id=1)
on_the_one_cluster = pytest.mark.asyncio(loop_scope="module")


def processes_below(pid: int) -> dict[int, str]:
    """Return the processes that descend from one, with their names."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if rest.split()[0] != "Z":
            parents[int(folder.name)] = (int(rest.split()[1]), name)
    found = {pid}
    while more := {each for each, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return {each: parents[each][1] for each in found - {pid}}


def listening(pids: set[int]) -> set[str]:
    """Return the addresses that processes listen at, as the kernel writes them."""
    sockets = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            target = str(file.readlink()) if file.is_symlink() else ""
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend() -> AsyncIterator[RayBackend]:
    """Two workers on a cluster of our own, for all tests of this file."""
    # Of other tests, such as what multiprocessing keeps.
    others = processes_below(os.getpid()).keys()
    backend = RayBackend(workers=2, device="cpu")
    yield backend
    below = processes_below(os.getpid())
    below = {pid: name for pid, name in below.items() if pid not in others}
    scratch = backend._cluster._scratch
    assert scratch is not None and "raylet" in below.values()
    await backend.close()
    await until(lambda: not any(map(alive, below)))
    assert not scratch.path.exists()
    assert "RAY_AUTH_TOKEN" not in os.environ


@on_the_one_cluster
async def test_two_workers_draw_what_the_pipeline_draws_and_one_that_dies_is_replaced(
    backend: RayBackend, bundle: Path, pipeline: Pipeline
) -> None:
    await contract.two_workers_draw_as_the_pipeline_and_one_that_dies_is_replaced(
        backend, bundle, pipeline
    )
    await backend.unload(model_key(pipeline.info))
    with pytest.raises(RuntimeError, match="KeyError"):
        await drawn(backend, model_key(pipeline.info), [Item(ONE, 1)])


@on_the_one_cluster
async def test_what_ray_starts_listens_to_this_machine_only(backend: RayBackend) -> None:
    below = processes_below(os.getpid())
    assert listening(set(below)) <= LOOPBACK and listening(set(below))
    assert "token" in os.environ["RAY_AUTH_MODE"]


@on_the_one_cluster
async def test_bundles_travel_to_the_workers_and_are_checked_on_both_ends(
    backend: RayBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "digits"
    checksum = save_digits(folder).checksum
    described = await backend.inspect(str(folder))
    assert isinstance(described, Described) and described.info.checksum == checksum
    info = (await backend.load([str(folder)]))[0].info
    expected = Pipeline.from_pretrained(folder, device="cpu").generate(ONE, seeds=[3])
    shutil.rmtree(folder)
    (outcome,) = (await drawn(backend, model_key(info), [Item(ONE, 3)])).outcomes
    assert isinstance(outcome, Drawn)
    np.testing.assert_array_equal(outcome.pictures[-1], expected.images[0].array)
    # Ray lends out its own memory; pictures that wait to be sent must not hold that.
    assert outcome.pictures[-1].flags.writeable
    save_digits(folder)
    flip_a_bit(folder)
    for ask in (backend.inspect, lambda model: backend.load([model])):
        with pytest.raises(BundleError, match=rf"{folder}: generator\.safetensors is damaged"):
            await ask(str(folder))
    # The workers find what only they can, and tell it of the folder that was given.
    save_digits(folder, width=12)
    source = await backend._source(str(folder))
    source._parcel.files["generator.safetensors"] = np.zeros(100, np.uint8)
    with pytest.raises(BundleError, match=rf"{folder}: generator\.safetensors has 100 bytes"):
        await asyncio.to_thread(backend._actors[0].load, source)
    await backend.unload(model_key(info))


# The last: it ends the backend that it is given.
@on_the_one_cluster
async def test_a_server_that_lost_all_of_them_says_so_and_draws_again_when_one_is_back(
    backend: RayBackend, tmp_path: Path
) -> None:
    save_digits(tmp_path / "digits")
    info = (await backend.load([str(tmp_path / "digits")]))[0].info
    told: list[bool] = []
    backend.watch(told.append)
    pids = backend.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    held = [asyncio.create_task(drawn(backend, model_key(info), [Item(ONE, 1)])) for _ in pids]
    await until(lambda: backend.busy == 2)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    await until(lambda: told[:1] == [False])
    # A second by itself; more is allowed to a machine that is busy with other tests.
    assert time.monotonic() - began < 30
    results = await asyncio.gather(*held, return_exceptions=True)
    assert [type(result) for result in results] == [WorkerLost] * 2
    assert all("Actor" not in str(result) for result in results)
    batch = await drawn(backend, model_key(info), [Item(ONE, 1)])
    assert isinstance(batch.outcomes[0], Drawn)
    assert told[:2] == [False, True]


def test_without_the_package_the_command_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["--backend", "ray", "--address", "127.0.0.1:0"])
    assert done.exit_code == 1
    assert "pip install 't2i[ray]'" in done.output and "Traceback" not in done.output


@pytest.mark.parametrize("address", ["ray://head:10001", "head", ":6379", "head:port", ""])
def test_an_address_of_another_kind_is_refused_with_what_would_be_right(address: str) -> None:
    with pytest.raises(InvalidInput, match=r"ray-address.*HOST:PORT"):
        Settings(backend="ray", ray_address=address)
    with pytest.raises(InvalidInput, match=r"ray-address.*HOST:PORT"):
        RayBackend(workers=1, device="cpu", address=address)
    assert Settings(backend="ray", ray_address="auto").ray_address == "auto"


def test_an_address_is_for_the_backend_that_uses_it() -> None:
    with pytest.raises(InvalidInput, match="give --backend ray"):
        Settings(ray_address="head:6379")


def lone_actor(cluster: RayCluster) -> _Actor:
    return _Actor(0, cluster, "cpu", 1, gpus=0, alone=lambda: False)


def test_a_machine_with_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready(on_cpu=True, pid=7, version="0.0.1")
    monkeypatch.setattr(_Actor, "_placed", lambda self: ready)
    with pytest.raises(InvalidInput, match=r"has t2i 0\.0\.1, this one .* the same version"):
        lone_actor(RayCluster(None, cores=1)).start()


def test_a_lost_process_is_told_in_our_words_and_not_held_against_the_next() -> None:
    from ray.exceptions import RayActorError

    actor = lone_actor(RayCluster(None, cores=1))
    for successor in (False, True):
        actor._handle, actor.ready = object(), True
        with pytest.raises(WorkerLost) as lost, actor._translated():
            if successor:
                actor._handle = object()
            raise RayActorError
        assert str(lost.value) == "worker 0 (process -1) ended"
        assert actor.ready is successor


def test_an_actor_answers_with_its_errors_and_loads_what_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This process is not its own.
    monkeypatch.setattr("t2i.compute.limit_cores", lambda count: None)
    actor = Actor("cpu", cores=1)
    ready = pickle.loads(actor.ready())
    assert isinstance(ready, Ready) and ready.pid == os.getpid() and ready.on_cpu
    bundle = save_digits(tmp_path / "digits")
    parcel = pack(str(tmp_path / "digits"))
    info = pickle.loads(actor.obey(pickle.dumps(Load("")), parcel)).info
    assert info.checksum == bundle.checksum
    job = Job(model_key(info), [Item(ONE, 3)])
    assert isinstance(pickle.loads(actor.draw(pickle.dumps(job))), Batch)
    fault = pickle.loads(actor.draw(pickle.dumps(Job("nothing", [Item(ONE, 3)]))))
    assert isinstance(fault, RuntimeError) and "KeyError" in str(fault)
    del parcel.files["config.json"]
    missing = pickle.loads(actor.obey(pickle.dumps(Inspect("")), parcel))
    assert isinstance(missing, BundleError) and f"{tmp_path}/digits: config.json" in str(missing)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A cluster of two cores that somebody else started, and what a driver's environment needs."""
    code = """
import json, os, sys
from t2i.ray_cluster import RayCluster
cluster = RayCluster(None, cores=2, gpus=0)
cluster.join()
import ray
found = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
# Else a driver looks for this machine at another address than the loopback.
found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
print(json.dumps({"address": ray.get_runtime_context().gcs_address, **found}), flush=True)
sys.stdin.read()
cluster.close()
"""
    started = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert started.stdout is not None
    yield started, json.loads(started.stdout.readline())
    started.communicate(timeout=120)


@pytest.mark.slow
def test_a_given_cluster_is_joined_and_left_as_it_was(
    cluster: tuple[subprocess.Popen[str], dict[str, str]], tmp_path: Path
) -> None:
    head, environment = cluster
    address = environment.pop("address")
    before = set(processes_below(head.pid).values())
    folder, port_file = tmp_path / "digits", tmp_path / "port"
    save_digits(folder)
    arguments = ["--address", "127.0.0.1:0", "--model", str(folder), "--port-file", str(port_file)]
    arguments += ["--backend", "ray", "--ray-address", address, "--device", "cpu"]
    started = subprocess.Popen(
        [*COMMAND, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    try:
        wait_for(started, port_file)
        with Client(f"127.0.0.1:{port_file.read_text().strip()}", timeout=60) as client:
            found = client.generate_images(ONE, seeds=[3, 4])
        expected = Pipeline.from_pretrained(folder, device="cpu").generate(ONE, seeds=[3, 4])
        assert [image.data for image in found.images] == [
            image.encode("png") for image in expected.images
        ]
        actors = {pid for pid, name in processes_below(head.pid).items() if "Actor" in name}
        assert len(actors) == 2, "one for each core that the cluster has to spare"
        started.send_signal(signal.SIGTERM)
        _, log = started.communicate(timeout=120)
        assert started.returncode == 0, log
    finally:
        started.kill()
        started.communicate()
    limit = time.monotonic() + 120
    while any(map(alive, actors)):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert before <= set(processes_below(head.pid).values()) | {"ray::IDLE"}


@pytest.mark.slow
@pytest.mark.parametrize("to_the_group", [False, True])
def test_under_load_a_signal_costs_no_request_and_leaves_nothing_of_ray(
    tmp_path: Path, to_the_group: bool
) -> None:
    folder, port_file, temporary = tmp_path / "digits", tmp_path / "port", Path("/tmp")
    save_digits(folder)
    left = set(temporary.glob("t2i-ray-*"))
    arguments = ["--address", "127.0.0.1:0", "--model", str(folder), "--port-file", str(port_file)]
    started = subprocess.Popen(
        [*COMMAND, *arguments, "--backend", "ray", "--workers", "1", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    outcomes: list[tuple[float, Exception | None]] = []

    def ask(client: Client) -> None:
        while True:
            began = time.monotonic()
            try:
                client.generate_images(ONE, seeds=[1, 2], timeout=60)
            except Exception as error:
                outcomes.append((began, error))
                return
            outcomes.append((began, None))

    try:
        wait_for(started, port_file)
        address = f"127.0.0.1:{port_file.read_text().strip()}"
        clients = [Client(address, max_retries=0) for _ in range(3)]
        callers = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for caller in callers:
            caller.start()
        while len(outcomes) < 20:
            time.sleep(0.01)
        below = processes_below(started.pid)
        told = time.monotonic()
        if to_the_group:
            # As Ctrl-C does.
            os.killpg(started.pid, signal.SIGINT)
        else:
            started.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(120)
        for client in clients:
            client.close()
        _, log = started.communicate(timeout=120)
    finally:
        started.kill()
        started.communicate()
    assert started.returncode == 0, log
    assert log.splitlines()[-1].endswith("stopped") and "ended by itself" not in log
    assert [error for began, error in outcomes if began < told and error is not None] == []
    limit = time.monotonic() + 120
    while any(map(alive, below)):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert set(temporary.glob("t2i-ray-*")) <= left


@pytest.mark.slow
async def test_a_cluster_of_our_own_that_broke_is_started_again(tmp_path: Path) -> None:
    save_digits(tmp_path / "digits")
    backend = RayBackend(workers=1, device="cpu")
    told: list[bool] = []
    try:
        info = (await backend.load([str(tmp_path / "digits")]))[0].info
        backend.watch(told.append)
        (pid,) = backend.pids
        (raylet,) = [p for p, name in processes_below(os.getpid()).items() if name == "raylet"]
        os.kill(raylet, signal.SIGKILL)
        await until(lambda: told == [False])
        await until(lambda: told == [False, True], 200)
        assert backend.pids != [pid]
        assert isinstance(
            (await drawn(backend, model_key(info), [Item(ONE, 1)])).outcomes[0], Drawn
        )
    finally:
        await backend.close()


async def test_a_cluster_that_cannot_be_joined_is_named_with_what_would_be_right() -> None:
    with socket.socket() as bound:
        # Nobody listens at it, and nobody else gets it.
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        backend = RayBackend(workers=1, device="cpu", address=address)
        with pytest.raises(
            InvalidInput, match=rf"the cluster at {address} cannot be reached .*ray start --address"
        ):
            await backend.load(["default"])
        await backend.close()


@pytest.mark.slow
def test_a_cluster_without_room_says_what_a_worker_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.backends.ray._NOTE_SECONDS", 1.0)
    monkeypatch.setattr("server.backends.ray._PLACE_SECONDS", 2.0)
    backend = RayBackend(workers=1, device="cpu", cores=1)
    backend._cluster = RayCluster(None, cores=0, gpus=0)

    async def load() -> None:
        try:
            await backend.load(["default"])
        finally:
            await backend.close()

    with pytest.raises(T2IError, match=r"no place for worker 0, which needs 1 core: give fewer"):
        asyncio.run(load())


def wait_for(started: subprocess.Popen[str], port_file: Path) -> None:
    """Wait until a server serves."""
    limit = time.monotonic() + 200
    while not port_file.exists():
        assert started.poll() is None and time.monotonic() < limit
        time.sleep(0.05)
    # Held from the beginning: what Ray forks must not end it.
    with grpc.insecure_channel(f"127.0.0.1:{port_file.read_text().strip()}") as channel:
        wait_until_serving(channel)
