"""Actors of Ray: the contract of a pool, on a cluster of our own and on one that was there before."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from click.testing import CliRunner

from server.backends import Batch, Described, Drawn, Item, WorkerLost, model_key
from server.backends.actor import Actor
from server.backends.parcels import pack, unpacked
from server.backends.ray import RayBackend
from server.backends.worker import Inspect, Job, Load, Ready
from server.cli import main
from server.settings import Settings
from t2i.conditions import Label
from t2i.errors import BundleError, InvalidInput
from t2i.pipeline import Pipeline
from t2i.ray_cluster import check_ray_address
from tests.server.backends import contract
from tests.server.backends.contract import alive, drawn, until
from tests.server.digits import flip_a_bit, save_digits

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
            with_target = os.readlink(file) if file.is_symlink() else ""
            if with_target.startswith("socket:["):
                sockets.add(with_target[8:-1])
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
    backend = RayBackend(workers=2, device="cpu")
    yield backend
    below, folder = processes_below(os.getpid()), backend._cluster._folder
    assert folder is not None and "raylet" in below.values()
    await backend.close()
    await until(lambda: not any(map(alive, below)))
    assert not folder.exists()


@on_the_one_cluster
async def test_two_workers_draw_what_the_pipeline_draws_and_one_that_dies_is_replaced(
    backend: RayBackend, bundle: Path, pipeline: Pipeline
) -> None:
    await contract.two_workers_draw_what_the_pipeline_draws_and_one_that_dies_is_replaced(
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
    (info,) = await backend.load([str(folder)])
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
    (info,) = await backend.load([str(tmp_path / "digits")])
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
    assert time.monotonic() - began < 5
    results = await asyncio.gather(*held, return_exceptions=True)
    assert [type(result) for result in results] == [WorkerLost] * 2
    assert all("Actor" not in str(result) for result in results)
    batch = await drawn(backend, model_key(info), [Item(ONE, 1)])
    assert isinstance(batch.outcomes[0], Drawn)
    assert told[:2] == [False, True]
    await until(lambda: len(backend.pids) == 2)


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
    check_ray_address("auto")


def test_an_address_is_for_the_backend_that_uses_it() -> None:
    with pytest.raises(InvalidInput, match="give --backend ray"):
        Settings(ray_address="head:6379")


def test_an_actor_answers_with_its_errors_and_loads_what_was_sent(tmp_path: Path) -> None:
    actor = Actor("cpu", cores=1)
    ready = pickle.loads(actor.ready())
    assert isinstance(ready, Ready) and ready.pid == os.getpid() and ready.on_cpu
    bundle = save_digits(tmp_path / "digits")
    parcel = pack(str(tmp_path / "digits"))
    info = pickle.loads(actor.obey(pickle.dumps(Load("")), parcel))
    assert info.checksum == bundle.checksum
    job = Job(model_key(info), [Item(ONE, 3)])
    assert isinstance(pickle.loads(actor.draw(pickle.dumps(job))), Batch)
    fault = pickle.loads(actor.draw(pickle.dumps(Job("nothing", [Item(ONE, 3)]))))
    assert isinstance(fault, RuntimeError) and "KeyError" in str(fault)
    del parcel.files["config.json"]
    missing = pickle.loads(actor.obey(pickle.dumps(Inspect("")), parcel))
    assert isinstance(missing, BundleError) and f"{tmp_path}/digits: config.json" in str(missing)


def test_a_parcel_that_has_no_room_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_digits(tmp_path / "digits")
    parcel = pack(str(tmp_path / "digits"))
    with unpacked(parcel) as folder:
        assert len(list(Path(folder).iterdir())) == len(parcel.files)
    assert not Path(folder).exists()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(BundleError, match=r"cannot unpack it in .*nowhere .*make room"):
        unpacked(parcel).__enter__()
