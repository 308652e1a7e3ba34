"""The real server and the real client: what the engine promises, seen by those who call."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from benchmarks.timed import TimedBackend
from server.app import Server
from server.settings import Settings
from t2i.client import (
    AlreadyExistsError,
    AsyncClient,
    DeadlineExceededError,
    ResourceExhaustedError,
    ServiceError,
)

BIRD = "a bird"


@contextlib.asynccontextmanager
async def serving(backend: TimedBackend) -> AsyncIterator[Server]:
    server = Server(Settings(models=("timed",), port=0), backend)
    await server.start()
    await server.load()
    backend.batches.clear()
    yield server
    await server.stop(0)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not claim():
            await asyncio.sleep(0.002)


async def test_beside_a_greedy_caller_the_modest_one_gets_its_half() -> None:
    # Slow enough for both to have requests waiting, however busy this machine is.
    backend = TimedBackend(fixed=0.016, each=0.004, batch=4)
    async with serving(backend) as server:
        received = {"greedy": 0, "modest": 0}
        async with (
            AsyncClient(server.address, max_retries=0) as greedy,
            AsyncClient(server.address.replace("127.0.0.1", "localhost"), max_retries=0) as modest,
        ):

            async def keep_asking(name: str, client: AsyncClient, count: int) -> None:
                while True:
                    with contextlib.suppress(ResourceExhaustedError):
                        await client.generate_images(BIRD, count=count, format="raw")
                        received[name] += count

            tasks = [asyncio.create_task(keep_asking("greedy", greedy, 8)) for _ in range(24)]
            tasks += [asyncio.create_task(keep_asking("modest", modest, 1)) for _ in range(12)]
            await until(lambda: received["modest"] > 20)
            received.update(greedy=0, modest=0)
            await until(lambda: sum(received.values()) >= 240)
            share = received["modest"] / sum(received.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert share >= 0.9 * 0.5


async def test_cancelled_and_expired_requests_cost_no_forward() -> None:
    backend = TimedBackend(fixed=0.4, batch=16)
    async with serving(backend) as server, AsyncClient(server.address, max_retries=0) as client:
        running = asyncio.create_task(client.generate_images(BIRD))
        await until(lambda: backend.batches == [1])
        cancelled = [asyncio.create_task(client.generate_images(BIRD, count=5)) for _ in range(3)]
        # What is taken back after it came: the server believes that there is time for it.
        streams = [client.generate(BIRD, count=4) for _ in range(3)]
        for stream in streams:
            await anext(stream)
        await until(lambda: server.waiting == 27)
        for task in cancelled:
            task.cancel()
        for stream in streams:
            await stream.close()
        with contextlib.suppress(ServiceError):
            await client.generate_images(BIRD, count=3, timeout=0.05)
        await until(lambda: server.waiting == 0)
        await running
        await client.generate_images(BIRD, count=2)
    assert backend.batches == [1, 2]


async def test_what_cannot_be_done_in_time_is_refused_at_once_with_the_reason() -> None:
    backend = TimedBackend(fixed=0.3, batch=4)
    async with serving(backend) as server, AsyncClient(server.address) as client:
        with pytest.raises(DeadlineExceededError) as short:
            await client.generate_images(BIRD, timeout=0.2)
        assert short.value.reason == "DEADLINE_TOO_SHORT"
        assert backend.batches == []
        waiting = [asyncio.create_task(client.generate_images(BIRD, count=16)) for _ in range(4)]
        await until(lambda: server.waiting == 60)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ResourceExhaustedError) as late:
            await client.generate_images(BIRD, timeout=1.5)
        assert asyncio.get_running_loop().time() - began < 1.0
        assert late.value.reason == "DEADLINE_OUT_OF_REACH"
        assert late.value.retry_after is not None
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_job_gives_way_to_a_person() -> None:
    backend = TimedBackend(fixed=0.05, batch=4)
    async with (
        serving(backend) as server,
        AsyncClient(server.address, priority="batch") as job,
        AsyncClient(server.address) as person,
    ):
        jobs = [asyncio.create_task(job.generate_images(BIRD, count=16)) for _ in range(4)]
        await until(lambda: len(backend.batches) > 0)
        await person.generate_images(BIRD)
        drawn = len(backend.batches)
        await asyncio.gather(*jobs)
    assert drawn <= 5
    assert len(backend.batches) >= 16


async def test_a_request_with_an_id_is_drawn_once_and_its_id_is_its_own() -> None:
    backend = TimedBackend()
    async with serving(backend) as server, AsyncClient(server.address) as client:
        name = str(uuid.uuid4())
        first = await client.generate_images(BIRD, count=2, request_id=name)
        again = await client.generate_images(BIRD, count=2, request_id=name)
        assert [image.data for image in again.images] == [image.data for image in first.images]
        assert [image.seed for image in again.images] == [image.seed for image in first.images]
        assert sum(backend.batches) == 2
        with pytest.raises(AlreadyExistsError) as reused:
            await client.generate_images("an owl", count=2, request_id=name)
        assert reused.value.reason == "REQUEST_ID_REUSED"


async def test_nothing_is_held_when_all_is_answered_refused_or_given_up() -> None:
    backend = TimedBackend(fixed=0.001, batch=4)
    async with serving(backend) as server, AsyncClient(server.address, max_retries=0) as client:

        async def ask(number: int) -> None:
            with contextlib.suppress(ServiceError):
                match number % 3:
                    case 0:
                        await client.generate_images(BIRD, count=1 + number % 8)
                    case 1:
                        async with client.generate(BIRD, count=3) as events:
                            await anext(events)
                    case _:
                        await client.generate_images(BIRD, count=3, timeout=0.004)

        await asyncio.gather(*(ask(number) for number in range(150)))
        await until(lambda: server.waiting == 0 and server.held_bytes == 0)
