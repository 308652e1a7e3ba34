"""What a server tells Prometheus of its batch jobs."""

from __future__ import annotations

import asyncio

from benchmarks.timed import TimedBackend
from server.app import Server
from server.settings import Settings
from t2i.client import AsyncClient
from tests.server.jobs.folders import Places, birds
from tests.server.jobs.test_service import slow, to_the_end, until_drawn
from tests.server.test_telemetry import scrape


async def test_prometheus_is_told_of_jobs_by_state_and_of_rows_by_result(places: Places) -> None:
    places.write("birds.jsonl", birds(120))
    places.write("gone.jsonl", birds(1))
    server = Server(
        Settings(models=("timed",), port=0, metrics=("127.0.0.1", 0),
                 jobs=places.settings(at_once=1)),
        slow(),
    )  # fmt: skip
    await server.start()
    assert jobs_of(await scrape(server)) == {}
    await server.load()
    async with AsyncClient(server.address) as client:
        job = await client.batches.create("birds.jsonl", "out", rows_per_shard=20)
        waits = await client.batches.create("birds.jsonl", "more")
        fails = await client.batches.create("gone.jsonl", "fails")
        (places.inputs / "gone.jsonl").unlink()
        await until_drawn(client, job)
        told = await scrape(server)
        assert jobs_of(told) == {"running": 1, "pending": 2}
        # Two shards are under way at once, and only the first has a row that fails.
        assert 19 <= rows_of(told)["drawn"] < 118
        for _ in range(2):
            await client.batches.cancel(waits)
        assert (await to_the_end(client, job))[-1].state == "succeeded"
        await to_the_end(client, fails)
        async with asyncio.timeout(60):
            # Who watches a job may hear of its end a moment before it is counted.
            while sum(ended_of(told := await scrape(server)).values()) < 3:
                await asyncio.sleep(0.02)
        assert jobs_of(told) == {"succeeded": 1, "cancelled": 1, "failed": 1}
        assert rows_of(told) == {"drawn": 118, "failed": 2}
        assert ended_of(told) == {"succeeded": 1, "cancelled": 1, "failed": 1}
        # Shards that were there are not drawn, and so not counted again.
        again = await client.batches.create("birds.jsonl", "out", rows_per_shard=20, seed=job.seed)
        assert (await to_the_end(client, again))[-1].state == "succeeded"
        assert rows_of(await scrape(server)) == {"drawn": 118, "failed": 2}
    await server.stop(0)


async def test_a_server_without_jobs_tells_nothing_of_them() -> None:
    server = Server(Settings(models=("timed",), port=0, metrics=("127.0.0.1", 0)), TimedBackend())
    await server.start()
    told = await scrape(server)
    await server.stop(0)
    assert told and not [name for name, _ in told if name.startswith("t2i_job")]


async def test_a_database_that_cannot_be_read_leaves_the_other_numbers(places: Places) -> None:
    server = Server(
        Settings(models=("timed",), port=0, metrics=("127.0.0.1", 0), jobs=places.settings()),
        TimedBackend(),
    )
    await server.start()
    await server.load()
    assert server._jobs is not None
    server._jobs.store._database.close()
    told = await scrape(server)
    assert jobs_of(told) == {} and told["t2i_serving", ()] == 1
    assert rows_of(told) == {"drawn": 0, "failed": 0}
    await server.stop(0)


Told = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def jobs_of(told: Told) -> dict[str, float]:
    return {state: count for state, count in _by(told, "t2i_jobs", "state").items() if count}


def ended_of(told: Told) -> dict[str, float]:
    return _by(told, "t2i_jobs_ended_total", "state")


def rows_of(told: Told) -> dict[str, float]:
    return _by(told, "t2i_job_rows_total", "result")


def _by(told: Told, metric: str, label: str) -> dict[str, float]:
    return {dict(labels)[label]: value for (name, labels), value in told.items() if name == metric}
