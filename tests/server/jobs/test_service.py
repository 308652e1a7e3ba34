"""Batch jobs as their callers see them: the real server and client, a model that draws grey."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import resource
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from benchmarks.timed import INFO, TimedBackend
from server.app import Server
from server.backends import Batch, Described, Item, WorkerLost
from server.jobs.requests import input_format_of, shard_format_of
from server.jobs.store import Store
from server.settings import Settings
from t2i.batch import Job, ServiceDrawer, run_job
from t2i.batch.formats import INPUT_FORMATS, SHARD_FORMATS, InputFormat, ShardFormat
from t2i.client import (
    AlreadyExistsError,
    AsyncClient,
    BatchJob,
    Client,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnimplementedError,
)
from t2i.errors import InvalidInput
from t2i.protocol.v1 import batch_service_pb2, batch_service_pb2_grpc
from tests.server.jobs.folders import Places, birds, tree

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "batch.md").read_text("utf-8")
ANNA, BERT = "a-token-of-annas-own", "a-token-of-berts-own"
TOKENS = f'[anna]\ntoken = "{ANNA}"\n[bert]\ntoken = "{BERT}"\npictures_per_day = 3\n'


@contextlib.asynccontextmanager
async def serving(
    places: Places,
    backend: TimedBackend | None = None,
    *,
    tokens: str = "",
    port: int = 0,
    **limits: int | float,
) -> AsyncIterator[Server]:
    tokens_file = None
    if tokens:
        tokens_file = places.jobs.with_name("tokens.toml")
        tokens_file.write_text(tokens)
    server = Server(
        Settings(
            models=("timed",), port=port, tokens_file=tokens_file, jobs=places.settings(**limits)
        ),
        backend or TimedBackend(),
    )
    await server.start()
    await server.load()
    try:
        yield server
    finally:
        await server.stop(5)


async def to_the_end(client: AsyncClient, job: BatchJob) -> list[BatchJob]:
    async with asyncio.timeout(60):
        return [change async for change in client.batches.watch(job)]


async def until_drawn(client: AsyncClient, job: BatchJob, shards: int = 1) -> None:
    async with asyncio.timeout(60):
        async for change in client.batches.watch(job):
            if change.completed_shards >= shards:
                return


def slow() -> TimedBackend:
    return TimedBackend(each=0.02, batch=4)


async def test_a_job_is_watched_from_its_creation_to_its_end(places: Places) -> None:
    places.write("birds.jsonl", birds(20))
    async with serving(places) as server, AsyncClient(server.address) as client:
        job = await client.batches.create("birds.jsonl", "out/birds", rows_per_shard=8, count=2)
        assert (job.input, job.output, job.count) == ("birds.jsonl", "out/birds", 2)
        assert (job.model.name, job.model.checksum) == (INFO.name, INFO.checksum)
        changes = await to_the_end(client, job)
        end = changes[-1]
        assert (end.state, end.total_rows, end.completed_rows) == ("succeeded", 20, 20)
        assert (end.total_shards, end.completed_shards) == (3, 3)
        assert (end.failed_rows, end.failures) == (1, "out/birds/failures.jsonl")
        assert end.seed == job.seed
        assert end.started is not None
        assert end.ended is not None
        assert end.created <= end.started <= end.ended
        # Who comes late misses nothing that counts.
        assert await to_the_end(client, job) == [end]
        assert await client.batches.get(job.id) == end
    records = (places.outputs / "out" / "birds" / "records").iterdir()
    assert sum(len(r.read_text().splitlines()) - 1 for r in records) == end.images + 1


async def test_the_blocking_client_does_the_same(places: Places) -> None:
    places.write("birds.jsonl", birds(5))

    def ask(address: str) -> None:
        with Client(address) as client:
            job = client.batches.create("birds.jsonl", "birds", seed=1)
            *_, end = client.batches.watch(job)
            assert end == client.batches.get(job)
            assert end.state == "succeeded"
            assert list(client.batches.list()) == [end]
            assert list(client.batches.list(state="failed")) == []
            assert client.batches.cancel(job) == end

    async with serving(places) as server:
        await asyncio.to_thread(ask, server.address)


async def test_the_example_of_the_page_does_what_it_says(
    places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "Client" in code]
    places.write("captions.jsonl", birds(20))
    async with serving(places) as server:
        monkeypatch.setenv("T2I_ADDRESS", server.address)
        await asyncio.to_thread(exec, compile(code, "batch.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == ["succeeded 20 of 20", "22 pictures, 1 rows failed"]


def test_the_page_names_every_reason() -> None:
    source = (ROOT / "server" / "jobs" / "runner.py").read_text("utf-8")
    named = set(re.findall(r'_Failed\(\s*"([A-Z_]+)"', source)) | {"INPUT_INVALID", "CANNOT_GO_ON"}
    assert len(named) > 8
    section = PAGE[PAGE.index("## Jobs in the service") : PAGE.index("## The same bytes")]
    assert named <= set(re.findall(r"`([A-Z_]+)`", section))


async def test_a_job_that_is_created_again_is_the_same_job(places: Places) -> None:
    places.write("birds.jsonl", birds(5))
    id = str(uuid.uuid4())
    async with serving(places) as server, AsyncClient(server.address) as client:
        first = await client.batches.create("birds.jsonl", "birds", request_id=id)
        await to_the_end(client, first)
        (places.inputs / "birds.jsonl").unlink()
        again = await client.batches.create("birds.jsonl", "birds", request_id=id.upper())
        assert (again.id, again.seed, again.state) == (id, first.seed, "succeeded")
        with pytest.raises(AlreadyExistsError):
            await client.batches.create("birds.jsonl", "birds", request_id=id, count=2)


async def test_a_cancelled_job_keeps_its_shards_and_another_one_goes_on_with_them(
    places: Places,
) -> None:
    places.write("birds.jsonl", birds(60))
    async with serving(places, slow(), at_once=1) as server, AsyncClient(server.address) as client:
        job = await client.batches.create("birds.jsonl", "birds", rows_per_shard=5, seed=3)
        waits = await client.batches.create("birds.jsonl", "more")
        await until_drawn(client, job)
        assert (await client.batches.cancel(waits)).state == "cancelled"
        await client.batches.cancel(job)
        end = (await to_the_end(client, job))[-1]
        assert end.state == "cancelled"
        assert 0 < end.completed_shards < 12
        assert (await client.batches.cancel(job)) == end
        assert not (places.outputs / "more").exists()
        there = tree(places.outputs / "birds" / "shards")
        on = await client.batches.create("birds.jsonl", "birds", rows_per_shard=5, seed=3)
        assert (await to_the_end(client, on))[-1].state == "succeeded"
        assert there.items() < tree(places.outputs / "birds" / "shards").items()


async def test_a_stopping_server_is_not_held_up_by_jobs_and_the_next_one_finishes_them(
    places: Places,
) -> None:
    places.write("birds.jsonl", birds(60))
    async with serving(places, slow()) as server:
        port = server.port
        client = AsyncClient(server.address, timeout=60)
        job = await client.batches.create("birds.jsonl", "birds", rows_per_shard=5)
        watching = asyncio.create_task(to_the_end(client, job))
        await until_drawn(client, job)
        began = time.monotonic()
    assert time.monotonic() - began < 4
    async with serving(places, port=port):
        changes = await watching
    assert changes[-1].state == "succeeded"
    assert changes[-1].completed_rows == 60
    await client.close()


async def test_interactive_calls_go_before_a_job_that_runs(places: Places) -> None:
    places.write("birds.jsonl", birds(300))
    backend = slow()
    async with serving(places, backend) as server, AsyncClient(server.address) as client:
        job = await client.batches.create("birds.jsonl", "birds", rows_per_shard=10)
        await until_drawn(client, job)
        began = time.monotonic()
        await client.generate_images("a bird", format="raw")
        # A batch of the job's takes 80 ms; all of them that wait would take more than a second.
        assert time.monotonic() - began < 0.8
        before = sum(backend.batches)
        asked = [client.generate_images("a bird", format="raw") for _ in range(40)]
        await asyncio.gather(*asked)
        # Nothing of the job but what was at the worker already: in turns it would be as much again.
        assert sum(backend.batches) - before < 60
        assert (await client.batches.get(job)).state == "running"


async def test_of_two_tokens_neither_sees_or_touches_the_others_jobs(places: Places) -> None:
    places.write("birds.jsonl", birds(5))
    async with (
        serving(places, tokens=TOKENS) as server,
        AsyncClient(server.address, token=ANNA) as anna,
        AsyncClient(server.address, token=BERT) as bert,
    ):
        job = await anna.batches.create("birds.jsonl", "annas")
        await to_the_end(anna, job)
        for ask in (bert.batches.get(job), bert.batches.cancel(job), to_the_end(bert, job)):
            with pytest.raises(NotFoundError) as error:
                await ask
            assert error.value.reason == "JOB_NOT_FOUND"
        assert [j async for j in bert.batches.list()] == []
        assert [j.id async for j in anna.batches.list()] == [job.id]
        for folder in ("annas", "annas/shards"):
            with pytest.raises(InvalidArgumentError, match="another caller's"):
                await bert.batches.create("birds.jsonl", folder)
        # The same id is another job with another caller.
        own = await bert.batches.create("birds.jsonl", "berts", request_id=job.id)
        assert own.output == "berts"


async def test_the_pictures_of_a_job_count_for_its_token(places: Places) -> None:
    places.write("birds.jsonl", [{"text": "a bird"}] * 5)
    async with (
        serving(places, tokens=TOKENS) as server,
        AsyncClient(server.address, token=BERT) as bert,
    ):
        job = await bert.batches.create("birds.jsonl", "berts", rows_per_shard=1)
        # Three pictures a day: a shard waits for its turn, which is tomorrow.
        await until_drawn(bert, job, 3)
        with pytest.raises(ResourceExhaustedError):
            await bert.generate_images("a bird")
        await asyncio.sleep(0.2)
        now = await bert.batches.get(job)
        assert (now.state, now.images) == ("running", 3)
        await bert.batches.cancel(job)
        assert (await to_the_end(bert, job))[-1].state == "cancelled"


async def test_pages_hold_every_job_once_the_newest_first(places: Places) -> None:
    places.write("birds.jsonl", birds(1))
    async with serving(places) as server, AsyncClient(server.address) as client:
        ids = [(await client.batches.create("birds.jsonl", f"{n}")).id for n in range(5)]
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = batch_service_pb2_grpc.BatchServiceStub(channel)
            request = batch_service_pb2.ListBatchJobsRequest(page_size=2)
            pages = [await stub.ListBatchJobs(request)]
            while token := pages[-1].next_page_token:
                pages.append(
                    await stub.ListBatchJobs(
                        batch_service_pb2.ListBatchJobsRequest(page_size=2, page_token=token)
                    )
                )
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.ListBatchJobs(
                    batch_service_pb2.ListBatchJobsRequest(
                        page_size=1001,
                        page_token="x",
                        state=batch_service_pb2.BatchJobState.Value("BATCH_JOB_STATE_PENDING"),
                    )
                )
        assert [len(page.jobs) for page in pages] == [2, 2, 1]
        assert [job.id for page in pages for job in page.jobs] == ids[::-1]
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        details = error.value.details()
        assert details is not None
        assert "page_size: 1001" in details
        assert "page_token: is no token" in details


async def test_a_caller_has_so_many_jobs_and_no_more(places: Places) -> None:
    places.write("birds.jsonl", birds(100))
    async with (
        serving(places, slow(), at_once=1, per_owner=2) as server,
        AsyncClient(server.address) as client,
    ):
        jobs = [await client.batches.create("birds.jsonl", f"{n}") for n in range(2)]
        with pytest.raises(ResourceExhaustedError, match="2 jobs") as error:
            await client.batches.create("birds.jsonl", "2")
        assert error.value.reason == "TOO_MANY_JOBS"
        await client.batches.cancel(jobs[1])
        await client.batches.create("birds.jsonl", "2")


async def failed(client: AsyncClient, source: str) -> tuple[str, str]:
    job = await client.batches.create(source, f"of-{source}")
    end = (await to_the_end(client, job))[-1]
    assert end.state == "failed"
    assert end.error is not None
    return end.error.reason, end.error.message


async def test_what_stops_a_job_is_told_without_the_servers_folders(places: Places) -> None:
    places.write("many.jsonl", birds(11))
    (places.inputs / "twice.csv").write_text("text,text\na,b\n")
    (places.inputs / "no.parquet").write_text("no Parquet")
    (places.outputs / "of-few.jsonl").mkdir()
    (places.outputs / "of-few.jsonl" / "dear.txt").write_text("not a job's")
    places.write("few.jsonl", birds(2))
    async with serving(places, max_rows=10) as server, AsyncClient(server.address) as client:
        reason, message = await failed(client, "many.jsonl")
        assert reason == "TOO_MANY_ROWS"
        assert "11 rows; give at most 10" in message
        assert (await failed(client, "twice.csv"))[0] == "INPUT_INVALID"
        for source in ("no.parquet", "few.jsonl"):
            reason, message = await failed(client, source)
            assert reason != "INTERNAL"
            assert str(places.inputs.parent) not in message
    assert (places.outputs / "of-few.jsonl" / "dear.txt").read_text() == "not a job's"


async def test_a_full_disk_fails_a_job_and_the_same_job_created_again_goes_on(
    places: Places,
) -> None:
    places.write(
        "birds.jsonl", [{"text": "a bird", "count": 1 + 15 * (n >= 25)} for n in range(50)]
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with serving(places) as server, AsyncClient(server.address) as client:
        asked = {"rows_per_shard": 25, "seed": 7}
        # Room for the first shard and the database, and not for the second one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_100_000, limits[1]))
        try:
            job = await client.batches.create("birds.jsonl", "birds", **asked)
            end = (await to_the_end(client, job))[-1]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert end.error is not None
        assert (end.state, end.error.reason) == ("failed", "FILE_ERROR")
        assert "File too large" in end.error.message
        there = tree(places.outputs / "birds" / "shards")
        assert set(there) == {"000000.tar"}
        on = await client.batches.create("birds.jsonl", "birds", **asked)
        assert (await to_the_end(client, on))[-1].state == "succeeded"
        assert there.items() < tree(places.outputs / "birds" / "shards").items()


class FlakyBackend(TimedBackend):
    """Loses every third worker once a job runs."""

    calls = 0
    faulty = False

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        self.calls += 1
        if self.faulty and self.calls % 3 == 0:
            begin()
            raise WorkerLost
        return await super().run(model, items, begin)


async def test_lost_workers_and_a_full_queue_delay_a_job_and_nothing_else(places: Places) -> None:
    places.write("birds.jsonl", birds(70))
    flaky = FlakyBackend(batch=8)
    settings = Settings(models=("timed",), port=0, queue_limit=16, jobs=places.settings())
    server = Server(settings, flaky)
    await server.start()
    await server.load()
    flaky.faulty = True
    async with AsyncClient(server.address) as client:
        job = await client.batches.create("birds.jsonl", "birds", rows_per_shard=20)
        end = (await to_the_end(client, job))[-1]
    assert (end.state, end.completed_rows, end.images) == ("succeeded", 70, 79)
    assert flaky.calls > 10
    assert server.report()["engine"]["failed"] > 1  # type: ignore[index]
    assert server.report()["engine"]["refused"]["QueueFull"] > 0  # type: ignore[index]
    await server.stop(0)


async def test_a_job_whose_end_cannot_be_noted_is_begun_again(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.write("birds.jsonl", birds(5))
    end = Store.end
    failed: list[bool] = []

    def full_once(self: Store, *arguments: Any, **others: Any) -> None:
        if not failed:
            failed.append(True)
            raise sqlite3.OperationalError("database or disk is full")
        end(self, *arguments, **others)

    monkeypatch.setattr(Store, "end", full_once)
    async with serving(places) as server, AsyncClient(server.address) as client:
        job = await client.batches.create("birds.jsonl", "birds")
        assert (await to_the_end(client, job))[-1].state == "succeeded"
    assert failed


class OtherBackend(TimedBackend):
    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        return [Described(dataclasses.replace(INFO, checksum="1" * 64), 0, "", 0)]


async def test_a_job_is_not_gone_on_with_by_another_model(places: Places) -> None:
    places.write("birds.jsonl", birds(60))
    async with serving(places, slow()) as server, AsyncClient(server.address) as client:
        job = await client.batches.create("birds.jsonl", "birds", rows_per_shard=5)
        await until_drawn(client, job)
    async with serving(places, OtherBackend()) as server, AsyncClient(server.address) as client:
        end = (await to_the_end(client, job))[-1]
        assert end.state == "failed"
        assert end.error is not None
        assert end.error.reason == "MODEL_CHANGED"


async def test_every_wrong_field_is_named(places: Places, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_text(json.dumps({"text": "a secret bird"}))
    (places.inputs / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (places.outputs / "link").symlink_to(tmp_path)
    async with serving(places) as server, AsyncClient(server.address) as client:
        for source, output in (
            ("../secret.jsonl", "../elsewhere"),
            (str(tmp_path / "secret.jsonl"), str(tmp_path / "elsewhere")),
            ("link.jsonl", "link/elsewhere"),
            ("file:///etc/passwd", "s3://bucket/birds"),
            ("missing.jsonl", "."),
        ):
            with pytest.raises(InvalidArgumentError) as error:
                await client.batches.create(source, output)
            fields = [violation.field for violation in error.value.violations]
            assert fields == ["spec.input_uri", "spec.output_uri"]
        places.write("birds.jsonl", birds(1))
        with pytest.raises(InvalidArgumentError) as error:
            await client.batches.create("birds.jsonl", "birds", truncation=2, request_id="mine")
        assert [v.field for v in error.value.violations] == [
            "request_id",
            "spec.options.truncation",
        ]
        with pytest.raises(NotFoundError, match="timed"):
            await client.batches.create("birds.jsonl", "birds", model="other")
        with pytest.raises(InvalidArgumentError, match="UUID"):
            await client.batches.get("mine")
        with pytest.raises(NotFoundError):
            await client.batches.get(str(uuid.uuid4()))
        assert [job async for job in client.batches.list()] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "inputs",
        "jobs",
        "outputs",
        "secret.jsonl",
    ]


@pytest.mark.parametrize("format", SHARD_FORMATS)
async def test_a_job_writes_what_the_command_writes_in_every_format(
    places: Places, tmp_path: Path, format: ShardFormat
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    source = places.write("birds.jsonl", birds(20))
    async with serving(places) as server, AsyncClient(server.address) as client:
        job = await client.batches.create(
            "birds.jsonl", "birds", rows_per_shard=8, seed=7, format=format
        )
        assert (job.format, job.input_format, job.best_of) == (format, "jsonl", 1)
        end = (await to_the_end(client, job))[-1]
        assert (end.state, end.format) == ("succeeded", format)
        same = Job(
            source=source,
            input_format="jsonl",
            out=tmp_path / "out",
            format=format,
            rows_per_shard=8,
            seed=7,
        )
        await asyncio.to_thread(run_job, same, lambda: ServiceDrawer(server.address))
    assert tree(places.outputs / "birds") == tree(tmp_path / "out")


@pytest.mark.parametrize("input_format", INPUT_FORMATS)
async def test_rows_may_be_in_every_format_whatever_their_file_is_called(
    places: Places, input_format: InputFormat
) -> None:
    source = places.inputs / "rows.data"
    if input_format == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"text": ["a bird", "a fish"]}), source)
    else:
        lines = {
            "jsonl": '{"text": "a bird"}\n{"text": "a fish"}\n',
            "csv": "text\na bird\na fish\n",
            "text": "a bird\na fish\n",
        }
        source.write_text(lines[input_format])
    async with serving(places) as server, AsyncClient(server.address) as client:
        job = await client.batches.create("rows.data", "out", input_format=input_format)
        end = (await to_the_end(client, job))[-1]
        assert (end.state, end.input_format, end.images) == ("succeeded", input_format, 2)
        with pytest.raises(InvalidArgumentError, match="or set input_format") as error:
            await client.batches.create("rows.data", "more")
        assert [violation.field for violation in error.value.violations] == ["spec.input_uri"]


async def test_a_format_that_a_server_cannot_know_and_a_choice_that_no_model_makes_are_refused(
    places: Places,
) -> None:
    places.write("birds.jsonl", birds(1))
    async with serving(places) as server, AsyncClient(server.address) as client:
        with pytest.raises(InvalidInput, match="format: 'zip' is unknown"):
            await client.batches.create("birds.jsonl", "out", format="zip")  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError, match="has no scorer") as error:
            await client.batches.create("birds.jsonl", "out", best_of=2)
        assert [violation.field for violation in error.value.violations] == ["spec.best_of"]
        spec = batch_service_pb2.BatchJobSpec(
            input_uri="birds.jsonl",
            output_uri="out",
            input_format=9,  # type: ignore[arg-type]
            shard_format=9,  # type: ignore[arg-type]
            best_of=17,
        )
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = batch_service_pb2_grpc.BatchServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.CreateBatchJob(batch_service_pb2.CreateBatchJobRequest(spec=spec))
        details = refused.value.details() or ""
        for field in ("spec.input_format: 9", "spec.shard_format: 9", "spec.best_of: 17"):
            assert field in details


def test_a_job_that_an_older_server_took_in_is_gone_on_with_as_it_was_begun() -> None:
    spec = batch_service_pb2.BatchJobSpec(input_uri="birds.jsonl")
    assert (shard_format_of(spec), input_format_of(spec)) == ("webdataset", None)


async def test_a_server_without_jobs_says_so() -> None:
    server = Server(Settings(models=("timed",), port=0), TimedBackend())
    await server.start()
    await server.load()
    async with AsyncClient(server.address) as client:
        with pytest.raises(UnimplementedError, match="--jobs") as error:
            await client.batches.create("birds.jsonl", "birds")
        assert error.value.reason == "JOBS_OFF"
    await server.stop(0)
