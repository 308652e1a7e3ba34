"""A server that finds other versions by itself: what it swaps, and what it leaves alone."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import t2i.manifest
from server.app import Server
from server.backends import Described, WorkerLost
from server.backends.process import ProcessBackend
from server.backends.thread import ThreadBackend
from server.model_watch import look
from t2i.bundle import local_bundle
from t2i.client import AsyncAdmin, AsyncClient
from t2i.conditions import Label
from t2i.manifest import MANIFEST
from tests.server.digits import flip_a_bit, save_digits
from tests.server.test_model_store import serving, until
from tests.server.test_swap import SEEDS, Callers, backend_of, expected

WEIGHTS = "generator.safetensors"
# From one look to the next in these tests.
SOON: dict[str, Any] = {"watch_models": 0.1}


def switch(link: Path, folder: Path) -> None:
    """Let a link lead to another folder, in one step."""
    new = link.with_name(".new")
    new.symlink_to(folder.name)
    new.replace(link)


def swapped(server: Server) -> int:
    return server._store.changes.swapped


def failed(server: Server) -> int:
    return server._store.changes.failed


async def version(client: AsyncClient) -> str:
    return (await client.generate_images(Label(id=1), seeds=SEEDS)).model.version


async def looks(server: Server, count: int = 4) -> None:
    """Wait until the server has looked so often."""
    watch, seen = server._watch, 0
    assert watch is not None
    look_at_all = watch._look_at_all

    async def counted() -> None:
        nonlocal seen
        await look_at_all()
        seen += 1

    watch._look_at_all = counted  # type: ignore[method-assign]
    await until(lambda: seen >= count)
    watch._look_at_all = look_at_all  # type: ignore[method-assign]


def test_a_look_at_what_has_not_changed_is_the_look_before(tmp_path: Path) -> None:
    checksum = save_digits(tmp_path / "digits").checksum
    first = look(str(tmp_path / "digits"))
    assert (first.checksum, first.problem) == (checksum, "")
    assert look(str(tmp_path / "digits"), first) is first
    (tmp_path / "digits" / "notes.txt").write_text("no part of the bundle")
    assert look(str(tmp_path / "digits"), first) is first
    # One that was changed behind the dates of its contents is not.
    weights = tmp_path / "digits" / WEIGHTS
    dates = weights.stat()
    flip_a_bit(tmp_path / "digits")
    os.utime(weights, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert look(str(tmp_path / "digits"), first) != first


@pytest.mark.parametrize(
    ("name", "size", "problem"),
    [
        (WEIGHTS, None, f"{WEIGHTS} is missing"),
        (WEIGHTS, 1000, f"{WEIGHTS} has 1000 bytes instead of"),
        (MANIFEST, None, f"there is no {MANIFEST}"),
        (MANIFEST, 100, f"{MANIFEST} is not JSON"),
    ],
)
def test_a_look_tells_what_a_bundle_lacks(
    tmp_path: Path, name: str, size: int | None, problem: str
) -> None:
    whole = save_digits(tmp_path / "digits")
    before = look(str(whole.folder))
    if size is None:
        (whole.folder / name).unlink()
    else:
        os.truncate(whole.folder / name, size)
    seen = look(str(whole.folder), before)
    assert problem in seen.problem and seen != before
    shutil.rmtree(whole.folder)
    save_digits(whole.folder)
    assert look(str(whole.folder), seen).problem == ""


def test_a_look_asks_no_hub_and_finds_what_comes_with_t2i() -> None:
    assert "no such folder" in look("someone/birds-of-prey").problem
    assert look("default").problem == "" and local_bundle("default") is not None


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_a_link_that_is_switched_is_followed_without_failing_a_request(
    tmp_path: Path, kind: str
) -> None:
    for number in (1, 2):
        save_digits(tmp_path / f"v{number}", version=number)
    versions = dict(expected(tmp_path / f"v{number}") for number in (1, 2))
    first, second = versions
    current = tmp_path / "current"
    current.symlink_to("v1")
    async with (
        serving(current, backend=backend_of(kind, workers=2), **SOON) as (server, _),
        AsyncClient(server.address, max_retries=0) as client,
    ):
        callers = Callers()
        asking = [asyncio.create_task(callers.ask(client)) for _ in range(3)]
        for name, checksum in (("v2", second), ("v1", first)):
            switch(current, tmp_path / name)
            await until(lambda c=checksum: server._store.sources["digits"][1] == c)  # type: ignore[misc]
            before = callers.answers[checksum]
            await until(lambda c=checksum, b=before: callers.answers[c] >= b + 5)  # type: ignore[misc]
        callers.stopped = True
        await asyncio.gather(*asking)
        assert callers.failures == []
        assert callers.pictures == versions
        assert (swapped(server), failed(server)) == (2, 0)


@pytest.mark.parametrize("away", [False, True])
async def test_what_was_replaced_or_moved_away_between_load_and_first_look_is_found(
    tmp_path: Path, away: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "digits"
    save_digits(folder)
    caplog.set_level(logging.INFO, "t2i.server")
    async with serving(folder, watch_models=0.3) as (server, _):
        if away:
            # As one looks that came from a hub: there is nothing to say about it.
            shutil.rmtree(folder)
            await looks(server)
            assert "whole bundle" not in caplog.text
        checksum = save_digits(folder, version=2).checksum
        await until(lambda: server._store.sources["digits"][1] == checksum)
        assert (swapped(server), failed(server)) == (1, 0)


async def test_a_bundle_that_is_being_copied_over_the_old_one_is_left_alone_until_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, new = tmp_path / "digits", tmp_path / "new"
    save_digits(folder)
    save_digits(new, version=2, width=16)
    caplog.set_level(logging.INFO, "t2i.server")
    async with serving(folder, **SOON) as (server, _), AsyncClient(server.address) as client:
        await looks(server, 2)
        # The manifest in the middle, as a folder's order has it, and weights in pieces.
        for name in ("config.json", MANIFEST):
            shutil.copyfile(new / name, folder / name)
            await looks(server, 3)
        data = (new / WEIGHTS).read_bytes()
        half = len(data) // 2
        (folder / WEIGHTS).write_bytes(data[:half])
        await looks(server, 3)
        assert (swapped(server), failed(server)) == (0, 0)
        assert await version(client) == "1"
        (folder / WEIGHTS).write_bytes(data)
        shutil.copyfile(new / "MODEL_CARD.md", folder / "MODEL_CARD.md")
        await until(lambda: swapped(server) == 1)
        assert (await version(client), failed(server)) == ("2", 0)
    told = [each for each in caplog.messages if "waits for a whole bundle" in each]
    assert len(told) == 1 and "config.json has" in told[0]


async def test_files_that_change_from_one_look_to_the_next_are_not_tried(tmp_path: Path) -> None:
    folder, new = tmp_path / "digits", tmp_path / "new"
    save_digits(folder)
    save_digits(new, version=2)
    async with serving(folder, **SOON) as (server, _):
        await looks(server, 2)
        watch, names = server._watch, ["config.json", MANIFEST, WEIGHTS]
        assert watch is not None
        look_at_all = watch._look_at_all

        async def one_file_each() -> None:
            await look_at_all()
            if names:
                shutil.copyfile(new / names[0], folder / names.pop(0))

        watch._look_at_all = one_file_each  # type: ignore[method-assign]
        # All files have their sizes from the second on, and the weights are the old ones.
        assert (new / WEIGHTS).stat().st_size == (folder / WEIGHTS).stat().st_size
        await until(lambda: swapped(server) == 1)
        assert failed(server) == 0


async def test_a_damaged_version_is_told_and_counted_once_and_swapped_when_it_was_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "digits"
    save_digits(folder)
    save_digits(tmp_path / "bad", version=2)
    flip_a_bit(tmp_path / "bad")
    sums: list[Path] = []
    sha256 = t2i.manifest._sha256

    def counted(path: Path) -> str:
        sums.append(path)
        return sha256(path)

    monkeypatch.setattr(t2i.manifest, "_sha256", counted)
    caplog.set_level(logging.ERROR, "t2i.server")
    async with serving(folder, **SOON) as (server, _), AsyncClient(server.address) as client:
        sums.clear()
        await looks(server)
        assert sums == [], "nothing is read while nothing changes"
        shutil.rmtree(folder)
        (tmp_path / "bad").rename(folder)
        await until(lambda: failed(server) == 1)
        read = len(sums)
        await looks(server)
        assert (swapped(server), failed(server), len(sums)) == (0, 1, read)
        assert await version(client) == "1"
        (line,) = caplog.messages
        assert "digits stays as it was" in line and f"{WEIGHTS} is damaged" in line
        flip_a_bit(folder)
        await until(lambda: swapped(server) == 1)
        assert (await version(client), failed(server)) == ("2", 1)


class Unlucky(ThreadBackend):
    """Loads as always, but loses a worker over some loads."""

    losses = 0

    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        if self.losses:
            self.losses -= 1
            raise WorkerLost("worker 0 ended")
        return await super().load(models)


async def test_a_swap_that_fails_for_a_reason_that_passes_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    save_digits(folder)
    backend = Unlucky(workers=1, device="cpu")
    async with serving(folder, backend=backend, **SOON) as (server, _):
        await looks(server, 2)
        backend.losses = 1
        began = asyncio.get_running_loop().time()
        save_digits(folder, version=2)
        await until(lambda: swapped(server) == 1)
        assert failed(server) == 1 and backend.losses == 0
        assert asyncio.get_running_loop().time() - began > 1.0


async def test_a_worker_that_comes_back_finds_its_version_behind_the_link_that_was_switched(
    tmp_path: Path,
) -> None:
    for number in (1, 2):
        save_digits(tmp_path / f"v{number}", version=number)
    checksum, pictures = expected(tmp_path / "v1")
    current = tmp_path / "current"
    current.symlink_to("v1")
    backend = ProcessBackend(workers=1, device="cpu")
    async with (
        serving(current, backend=backend) as (server, _),
        AsyncClient(server.address, max_retries=0) as client,
    ):
        # The same bundle in another place is no other version, and where it is from then on.
        shutil.copytree(tmp_path / "v1", tmp_path / "v1-again")
        switch(current, tmp_path / "v1-again")
        await server.refresh()
        assert (swapped(server), failed(server)) == (0, 0)
        shutil.rmtree(tmp_path / "v1")
        switch(current, tmp_path / "v2")
        (pid,) = backend.pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: pid not in backend.pids and len(backend.pids) == 1)
        result = await client.generate_images(Label(id=1), seeds=SEEDS)
        assert result.model.checksum == checksum
        assert {tuple(image.data for image in result.images)} == pictures


async def test_models_that_are_not_in_memory_are_watched_too_and_those_forgotten_are_not(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        save_digits(tmp_path / name, name)
    options = {"admin": ("127.0.0.1", 0), "models_root": tmp_path}
    async with (
        serving(tmp_path / "one", lazy=True, **SOON, **options) as (server, _),
        AsyncAdmin(server.admin_address) as admin,
    ):
        store = server._store
        await admin.load(path="two")
        checksum = save_digits(tmp_path / "one", "one", version=2).checksum
        other = save_digits(tmp_path / "two", "two", version=2).checksum
        await until(lambda: store.sources["one"][1] == checksum)
        assert not store.loaded["one"]
        await until(lambda: store.sources["two"][1] == other)
        await admin.unload("two", forget=True)
        shutil.rmtree(tmp_path / "two")
        await looks(server)
        assert set(server._watch._watched) == {"one"}  # type: ignore[union-attr]
        assert (swapped(server), failed(server)) == (2, 0)
        # An operator's word holds: what it was swapped to is what is watched from then on.
        save_digits(tmp_path / "three", "one", version=3)
        await admin.swap("one", "three")
        await looks(server)
        assert store.sources["one"][0].endswith("three") and swapped(server) == 3


async def test_a_server_that_stops_looks_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    save_digits(folder)
    async with serving(folder, **SOON) as (server, _):
        await looks(server, 2)
        watching = server._watch._watching  # type: ignore[union-attr]
        assert watching is not None and not watching.done()
        stopping = asyncio.create_task(server.stop(1))
        await asyncio.sleep(0.05)
        assert watching.done() and not stopping.done()
        save_digits(folder, version=2)
        await stopping
        assert swapped(server) == 0
