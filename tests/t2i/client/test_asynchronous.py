from __future__ import annotations

import asyncio
import gc
import inspect
import uuid
from collections.abc import AsyncIterator

import grpc
import pytest

import t2i.client as sdk
from t2i.client import Accepted, AsyncClient, Client
from tests.t2i.client.faulty_service import Hang, Refusal, Service, colour, retry_in

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
async def client(service: Service) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service.address, timeout=20) as client:
        yield client


def public(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in vars(cls).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


def test_both_clients_have_the_same_names_and_parameters() -> None:
    blocking, asynchronous = public(Client), public(AsyncClient)
    assert blocking.keys() == asynchronous.keys()
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    for name, signature in blocking.items():
        assert signature.parameters == asynchronous[name].parameters, name


async def test_a_stream_brings_the_same_events_as_the_blocking_client(
    client: AsyncClient, service: Service
) -> None:
    events = [event async for event in client.generate("bird", seeds=[5, 9])]
    with Client(service.address) as blocking:
        expected = await asyncio.to_thread(lambda: list(blocking.generate("bird", seeds=[5, 9])))
    assert events == expected


async def test_pictures_and_models_come_back(client: AsyncClient) -> None:
    result = await client.generate_images("bird", seeds=[3])
    assert result.images[0].pil().getpixel((0, 0)) == colour(3)
    models = await client.list_models()
    assert models == (await client.get_model(),)


async def test_many_requests_share_one_client(client: AsyncClient) -> None:
    results = await asyncio.gather(*(client.generate_images("b", seeds=[n]) for n in range(20)))
    assert [result.images[0].seed for result in results] == list(range(20))


async def test_a_service_that_is_away_twice_is_asked_a_third_time(
    client: AsyncClient, service: Service
) -> None:
    service.faults = [Refusal(UNAVAILABLE, "", (retry_in(0.05),)) for _ in range(2)]
    assert len(await client.generate_images("bird")) == 1
    assert len(service.requests) == 3


async def test_a_stream_that_breaks_off_is_repeated_only_with_a_request_id(
    client: AsyncClient, service: Service
) -> None:
    broken = Refusal(UNAVAILABLE, "restarting", (retry_in(0.05),), after_events=2)
    service.faults = [broken]
    with pytest.raises(sdk.UnavailableError):
        [event async for event in client.generate("bird", seeds=[1])]
    service.faults = [broken]
    request_id = str(uuid.uuid4())
    events = [event async for event in client.generate("bird", seeds=[1], request_id=request_id)]
    names = [type(event).__name__ for event in events]
    assert names == ["Accepted", "Preview", "Completed", "Finished"]
    assert len(service.requests) == 3


@pytest.mark.parametrize("way", ["close", "with", "break", "task"])
async def test_leaving_a_stream_cancels_the_call(
    client: AsyncClient, service: Service, way: str
) -> None:
    service.faults = [Hang(after_events=1)]

    async def read_all(begun: asyncio.Event) -> None:
        async for _ in client.generate("bird"):
            begun.set()

    if way == "close":
        events = client.generate("bird")
        assert isinstance(await anext(events), Accepted)
        await events.close()
    elif way == "with":
        async with client.generate("bird") as events:
            assert isinstance(await anext(events), Accepted)
    elif way == "break":
        async for event in client.generate("bird"):
            assert isinstance(event, Accepted)
            break
        gc.collect()
    else:
        begun = asyncio.Event()
        task = asyncio.create_task(read_all(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(service.ended.wait, 5)


async def test_a_cancelled_task_cancels_its_call(client: AsyncClient, service: Service) -> None:
    service.faults = [Hang()]
    task = asyncio.create_task(client.generate_images("bird"))
    while not service.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(service.ended.wait, 5)


async def test_errors_are_those_of_the_blocking_client(
    client: AsyncClient, service: Service
) -> None:
    service.faults = [Refusal(grpc.StatusCode.PERMISSION_DENIED, "not with this token")]
    with pytest.raises(sdk.PermissionDeniedError, match="not with this token"):
        await client.list_models()
    service.faults = [Hang()]
    with pytest.raises(sdk.DeadlineExceededError):
        await client.generate_images("bird", timeout=0.3)


async def test_a_closed_client_says_so(service: Service) -> None:
    client = AsyncClient(service.address)
    await client.list_models()
    await client.close()
    await client.close()
    with pytest.raises(sdk.ClientClosed):
        await client.list_models()
    with pytest.raises(sdk.ClientClosed):
        client.generate("bird")


def test_a_client_may_be_made_before_there_is_an_event_loop(service: Service) -> None:
    client = AsyncClient(service.address)

    async def use() -> str:
        async with client:
            return (await client.get_model()).name

    assert asyncio.run(use()) == "squares"
