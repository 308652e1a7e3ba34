"""Streams of services that know `group_events` and of older ones: the same to who reads them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

import t2i.client as sdk
from t2i.client import AsyncClient, Client
from t2i.protocol.v1.image_service_pb2 import GenerateRequest
from tests.t2i.client.faulty_service import Hang, Refusal, Service, retry_in

Read = Callable[..., list[sdk.GenerateEvent]]

A_PICTURE = ["Preview", "Completed"]
AWAY = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(params=["older", "grouping"])
def either(service: Service, request: pytest.FixtureRequest) -> Service:
    service.groups = request.param == "grouping"
    return service


@pytest.fixture(params=["blocking", "asynchronous"])
def read(service: Service, request: pytest.FixtureRequest) -> Read:
    """Return all events of a stream; a list that is given holds those before an error."""

    def block(into: list[sdk.GenerateEvent] | None = None, **asked: Any) -> Any:
        got = [] if into is None else into
        with Client(service.address, timeout=20) as client:
            for event in client.generate("bird", **asked):
                got.append(event)
        return got

    async def run(into: list[sdk.GenerateEvent] | None = None, **asked: Any) -> Any:
        got = [] if into is None else into
        async with AsyncClient(service.address, timeout=20) as client:
            async for event in client.generate("bird", **asked):
                got.append(event)
        return got

    if request.param == "blocking":
        return block
    return lambda into=None, **asked: asyncio.run(run(into, **asked))


def kinds(events: Sequence[sdk.GenerateEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_events_are_the_same_and_in_the_same_order(service: Service, read: Read) -> None:
    older = read(seeds=[5, 9])
    service.groups = True
    assert read(seeds=[5, 9]) == older
    assert kinds(older) == ["Accepted", *A_PICTURE * 2, "Finished"]
    last = older[-1]
    assert isinstance(last, sdk.Finished) and (last.count, last.timings.total_ms) == (2, 12.5)
    asked = service.requests[-1]
    assert isinstance(asked, GenerateRequest) and asked.group_events


def test_previews_are_left_out_on_request(either: Service, read: Read) -> None:
    assert kinds(read(seeds=[5, 9], previews=False)) == [
        "Accepted", "Completed", "Completed", "Finished",
    ]  # fmt: skip


@pytest.mark.parametrize("first", [False, True])
def test_a_stream_that_broke_off_goes_on_whichever_service_answers_then(
    service: Service, read: Read, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(seeds=[1, 2, 3])
    service.requests.clear()
    service.faults = [Refusal(AWAY, "restarting", (retry_in(0.05),), after_events=2)]
    note = service._note

    def switch(*arguments: Any) -> Any:
        service.groups = first if not service.requests else not first
        return note(*arguments)

    monkeypatch.setattr(service, "_note", switch)
    request_id = str(uuid.uuid4())
    events = read(seeds=[1, 2, 3], request_id=request_id)
    assert len(service.requests) == 2
    assert events[1:-1] == whole[1:-1]
    assert kinds(events) == kinds(whole)


def test_an_error_in_mid_stream_comes_after_what_was_drawn(service: Service, read: Read) -> None:
    service.groups = True
    service.faults = [Refusal(grpc.StatusCode.INTERNAL, "out of paint", after_events=2)]
    got: list[sdk.GenerateEvent] = []
    with pytest.raises(sdk.InternalError, match="out of paint"):
        read(got, seeds=[1, 2])
    assert kinds(got) == ["Accepted", *A_PICTURE]


def test_a_stream_without_its_last_event_is_an_error(either: Service, read: Read) -> None:
    either.truncated = True
    got: list[sdk.GenerateEvent] = []
    with pytest.raises(sdk.InternalError, match="before its last event"):
        read(got, seeds=[1])
    assert kinds(got) == ["Accepted", *A_PICTURE]


def test_a_stream_that_is_left_between_events_of_one_message_ends_the_call(
    service: Service,
) -> None:
    service.groups = True
    service.faults = [Hang(after_events=2)]
    with Client(service.address) as client, client.generate("bird", seeds=[1, 2]) as events:
        assert kinds([next(events), next(events)]) == ["Accepted", "Preview"]
    assert service.ended.wait(5)
    service.ended.clear()
    service.faults = [Hang(after_events=2)]

    async def leave() -> None:
        async with (
            AsyncClient(service.address) as client,
            client.generate("bird", seeds=[1, 2]) as events,
        ):
            assert kinds([await anext(events), await anext(events)]) == ["Accepted", "Preview"]

    asyncio.run(leave())
    assert service.ended.wait(5)
