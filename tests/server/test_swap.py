"""Another version in the place of a model's present one: no request fails, and none is mixed."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from server.backends import Backend, Batch, Item
from server.backends.process import ProcessBackend
from server.backends.ray import RayBackend
from server.backends.thread import ThreadBackend
from t2i.client import (
    AsyncAdmin,
    AsyncClient,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from t2i.conditions import Label
from t2i.pipeline import Pipeline
from t2i.protocol.v1.image_service_pb2 import GenerateRequest
from t2i.protocol.v1.image_service_pb2_grpc import ImageServiceStub
from tests.server.digits import ONE, flip_a_bit, save_digits
from tests.server.jobs.folders import Places
from tests.server.test_model_store import serving, until

SEEDS = [3, 4]
# Ray takes its time to start.
KINDS = ["thread", "process", pytest.param("ray", marks=pytest.mark.slow)]


@dataclass
class Callers:
    """Who asks again and again, and what they got: pictures by the checksum that was told."""

    answers: Counter[str] = field(default_factory=Counter)
    pictures: dict[str, set[tuple[bytes, ...]]] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    stopped: bool = False

    async def ask(self, client: AsyncClient) -> None:
        while not self.stopped:
            try:
                # Without retries: not a single attempt may fail.
                result = await client.generate_images(Label(id=1), seeds=SEEDS)
            except Exception as error:
                self.failures.append(error)
                return
            checksum = result.model.checksum
            self.answers[checksum] += 1
            drawn = tuple(image.data for image in result.images)
            self.pictures.setdefault(checksum, set()).add(drawn)


def expected(folder: Path) -> tuple[str, set[tuple[bytes, ...]]]:
    pipeline = Pipeline.from_pretrained(folder, device="cpu")
    drawn = pipeline.generate(Label(id=1), seeds=SEEDS)
    return pipeline.info.checksum, {tuple(image.encode("png") for image in drawn.images)}


def backend_of(kind: str, workers: int = 1) -> Backend:
    if kind == "process":
        return ProcessBackend(workers=workers, device="cpu")
    if kind == "ray":
        return RayBackend(workers=workers, device="cpu")
    return ThreadBackend(workers=1, device="cpu")


@pytest.mark.parametrize("kind", KINDS)
async def test_swaps_under_load_fail_no_request_and_every_picture_is_of_the_version_it_names(
    tmp_path: Path, kind: str
) -> None:
    for version in (1, 2):
        save_digits(tmp_path / f"v{version}", version=version)
    versions = dict(expected(tmp_path / f"v{version}") for version in (1, 2))
    first, second = versions
    options: dict[str, Any] = {"admin": ("127.0.0.1", 0), "models_root": tmp_path}
    async with (
        serving(tmp_path / "v1", backend=backend_of(kind, workers=2), **options) as (server, _),
        AsyncAdmin(server.admin_address) as admin,
        AsyncClient(server.address, max_retries=0) as client,
    ):
        callers = Callers()
        asking = [asyncio.create_task(callers.ask(client)) for _ in range(4)]
        for name, checksum in (("v2", second), ("v1", first), ("v2", second)):
            before = callers.answers[checksum]
            done = await admin.swap("digits", name)
            assert done.changed and done.model.version.checksum == checksum
            await until(lambda c=checksum, b=before: callers.answers[c] >= b + 5)  # type: ignore[misc]
        callers.stopped = True
        await asyncio.gather(*asking)
        assert callers.failures == []
        assert callers.pictures == versions
        await until(lambda: len(server._store._memory._held) == 1)
        assert (await admin.models()).models[0].draining == ()


class HeldVersions(ThreadBackend):
    """Draws as always, but batches of some versions only once `go` is set."""

    def __init__(self) -> None:
        super().__init__(workers=1, device="cpu")
        self.held: set[str] = set()
        self.go = asyncio.Event()

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        if model in self.held:
            await self.go.wait()
        return await super().run(model, items, begin)


async def test_a_request_that_was_there_ends_with_the_version_that_it_was_promised(
    tmp_path: Path,
) -> None:
    backend = HeldVersions()
    for version in (1, 2):
        save_digits(tmp_path / f"v{version}", version=version)
    first, second = (expected(tmp_path / f"v{version}") for version in (1, 2))
    async with serving(tmp_path / "v1", backend=backend, max_batch=2) as (server, channel):
        store = server._store
        backend.held = {f"digits@{first[0]}"}
        stream = ImageServiceStub(channel).Generate(
            GenerateRequest(condition=ONE, seeds=[*SEEDS, 5, 6], previews=False)
        )
        events = aiter(stream)
        accepted = (await anext(events)).accepted
        assert accepted.model.checksum == first[0]
        swapped = await store.swap("digits", str(tmp_path / "v2"))
        assert (swapped.before.checksum, swapped.after.checksum) == (first[0], second[0])
        await asyncio.sleep(0.2)
        (status,) = store.statuses()
        assert status.info.checksum == second[0] and status.draining == (first[0],)
        assert len(backend._pipelines) == 2
        # Back to a version that has not left yet: it need not be loaded again, and stays.
        loaded = store.changes.loaded
        async with asyncio.timeout(20):
            await store.swap("digits", str(tmp_path / "v1"))
        assert store.changes.loaded == loaded
        await until(lambda: len(backend._pipelines) == 1)
        await store.swap("digits", str(tmp_path / "v2"))
        backend.go.set()
        rest = [event async for event in events]
        drawn = [event.completed.image for event in rest if event.HasField("completed")]
        assert len(drawn) == 4
        assert {tuple(image.data for image in drawn if image.seed in SEEDS)} == first[1]
        await until(lambda: list(backend._pipelines) == [f"digits@{second[0]}"])


async def test_a_lease_keeps_a_version_in_memory_until_it_is_released(tmp_path: Path) -> None:
    for version in (1, 2):
        save_digits(tmp_path / f"v{version}", version=version)
    async with serving(tmp_path / "v1") as (server, _):
        store = server._store
        lease = await store.lease("digits")
        await store.swap("digits", str(tmp_path / "v2"))
        await asyncio.sleep(0.2)
        assert store.statuses()[0].draining == (lease.info.checksum,)
        lease.release()
        lease.release()
        await until(lambda: store.statuses()[0].draining == ())
        assert not store._memory._leases


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: writing on fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be_used_leaves_the_old_version_and_says_why(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "models"
    save_digits(root / "v1")
    checksum, pictures = expected(root / "v1")
    for name in ("flipped", "half", "missing", "good"):
        save_digits(root / name, version=2)
    flip_a_bit(root / "flipped")
    # What a copy onto a full disk leaves.
    weights = root / "half" / "generator.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    (root / "missing" / "config.json").unlink()
    save_digits(root / "other", "letters")
    options: dict[str, Any] = {
        "admin": ("127.0.0.1", 0),
        "models_root": root,
        "models_copy": tmp_path / "copies",
    }
    async with (
        serving(root / "v1", backend=backend_of(kind), **options) as (server, _),
        AsyncAdmin(server.admin_address) as admin,
        AsyncClient(server.address, max_retries=0) as client,
    ):
        callers = Callers()
        asking = [asyncio.create_task(callers.ask(client)) for _ in range(2)]
        for name, why in (
            ("flipped", r"generator\.safetensors is damaged"),
            ("half", r"generator\.safetensors has \d+ bytes instead of"),
            ("missing", r"config\.json is missing"),
            ("nowhere", "no such folder"),
            ("other", "the bundle there is named letters"),
        ):
            with pytest.raises((FailedPreconditionError, InvalidArgumentError), match=why):
                await admin.swap("digits", name)
        with (
            files_of_at_most(500_000),
            pytest.raises(FailedPreconditionError, match=r"cannot be copied to .*make room there"),
        ):
            await admin.swap("digits", "good")
        assert len(list((tmp_path / "copies").glob("t2i-copy-*"))) == 1
        # A signal tells nobody but the log.
        flip_a_bit(root / "v1")
        with caplog.at_level(logging.ERROR, "t2i.server"):
            await server.refresh()
        assert "digits stays as it was" in caplog.text
        seen = callers.answers[checksum]
        await until(lambda: callers.answers[checksum] > seen)
        callers.stopped = True
        await asyncio.gather(*asking)
        assert callers.failures == []
        assert callers.pictures == {checksum: pictures}
        assert (await admin.swap("digits", "good")).changed
    assert list((tmp_path / "copies").glob("t2i-copy-*")) == []


async def test_a_new_version_in_the_folder_is_found_by_looking_again_and_the_same_changes_nothing(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "digits"
    save_digits(folder)
    async with serving(folder) as (server, _), AsyncClient(server.address) as client:
        first = await client.generate_images(Label(id=1), seeds=SEEDS)
        await server.refresh()
        assert server._store.changes.swapped == 0
        checksum = save_digits(folder, version=2).checksum
        again = await client.generate_images(Label(id=1), seeds=SEEDS)
        assert again.model == first.model
        await server.refresh()
        now = await client.generate_images(Label(id=1), seeds=SEEDS)
        assert (now.model.version, now.model.checksum) == ("2", checksum)
        assert [model.checksum for model in await client.list_models()] == [checksum]
        assert server._store.changes.swapped == 1


@pytest.mark.parametrize("copied", [True, False])
async def test_a_worker_that_is_started_again_draws_that_version_or_leaves_it_to_the_others(
    tmp_path: Path, copied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "digits"
    save_digits(folder)
    checksum, pictures = expected(folder)
    backend = ProcessBackend(workers=1 if copied else 2, device="cpu")
    options = {"models_copy": tmp_path / "copies"} if copied else {}

    async def replaced(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        count = backend.workers
        await until(lambda: pid not in backend.pids and len(backend.pids) == count)

    async with (
        serving(folder, backend=backend, **options) as (server, _),
        AsyncClient(server.address, max_retries=0) as client,
    ):
        shutil.rmtree(folder)
        save_digits(folder, version=2)
        first, *others = backend.pids
        await replaced(first)
        for _ in range(10):
            result = await client.generate_images(Label(id=1), seeds=SEEDS)
            assert result.model.checksum == checksum
            assert {tuple(image.data for image in result.images)} == pictures
        if not copied:
            assert "it is no more what was loaded" in caplog.text
            (last,) = others
            await replaced(last)
            with pytest.raises(UnavailableError, match="worker that drew it ended"):
                await client.generate_images(Label(id=1), seeds=SEEDS)
            # Whoever looks again has the new version everywhere.
            await server.refresh()
            result = await client.generate_images(Label(id=1), seeds=SEEDS)
            assert result.model.version == "2"


async def test_a_model_that_would_not_fit_beside_its_old_version_is_refused(tmp_path: Path) -> None:
    size = save_digits(tmp_path / "v1").weight_bytes
    save_digits(tmp_path / "v2", version=2)
    options: dict[str, Any] = {"admin": ("127.0.0.1", 0), "models_root": tmp_path}
    async with (
        serving(tmp_path / "v1", memory_budget=size + 10, **options) as (server, _),
        AsyncAdmin(server.admin_address) as admin,
    ):
        with pytest.raises(FailedPreconditionError, match="with the version that it replaces"):
            await admin.swap(path="v2")
        await admin.unload("digits")
        # What is not in memory is only checked, and loaded at the next request.
        done = await admin.swap(path="v2")
        assert (done.changed, done.model.state) == (True, "unloaded")
        async with AsyncClient(server.address) as client:
            result = await client.generate_images(Label(id=1), seeds=SEEDS)
        assert {tuple(image.data for image in result.images)} == expected(tmp_path / "v2")[1]


async def test_a_batch_job_keeps_its_version_to_its_end(tmp_path: Path, held_backend: Any) -> None:
    backend, places = held_backend, Places(*(tmp_path / name for name in ("jobs", "in", "out")))
    places.inputs.mkdir()
    places.outputs.mkdir()
    for version in (1, 2):
        save_digits(tmp_path / f"v{version}", version=version)
    rows = [{"id": f"r{number}", "label": 1} for number in range(40)]
    places.write("rows.jsonl", rows)
    async with (
        serving(tmp_path / "v1", backend=backend, jobs=places.settings()) as (server, _),
        AsyncClient(server.address) as client,
    ):
        backend.begun.clear()
        backend.go.clear()
        job = await client.batches.create("rows.jsonl", "out", rows_per_shard=10)
        await until(lambda: bool(backend.begun))
        swapping = asyncio.create_task(server._store.swap("digits", str(tmp_path / "v2")))
        await asyncio.sleep(0.3)
        backend.go.set()
        await swapping
        assert (await client.generate_images(Label(id=1))).model.version == "2"
        async with asyncio.timeout(30):
            *_, last = [change async for change in client.batches.watch(job)]
        assert (last.state, last.images, last.model.version) == ("succeeded", 40, "1")
        await until(
            lambda: server._store._memory._draining == {} and not server._store._memory._leases
        )
