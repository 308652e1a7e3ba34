from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from google.rpc import code_pb2

from server.refusals import Refusal
from server.replays import Replays
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1.image_service_pb2 import (
    GenerateEvent,
    GenerateFinished,
    GenerateImagesRequest,
    GenerateImagesResponse,
    GenerateRequest,
)


class Draws:
    """Draws an answer of a given size, and counts how often."""

    def __init__(self, size: int = 10) -> None:
        self.times = 0
        self.size = size
        self.go = asyncio.Event()
        self.go.set()
        self.fault: Exception | None = None

    async def answer(self) -> GenerateImagesResponse:
        self.times += 1
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        image = pb.GeneratedImage(data=bytes(self.size), index=self.times)
        return GenerateImagesResponse(images=[image])

    async def events(self) -> AsyncIterator[GenerateEvent]:
        self.times += 1
        for count in range(3):
            await self.go.wait()
            yield GenerateEvent(finished=GenerateFinished(count=count))


def ask(words: str = "a bird", request_id: str | None = None) -> GenerateImagesRequest:
    condition = pb.Condition(text=pb.TextCondition(text=words))
    return GenerateImagesRequest(
        request_id=str(uuid.uuid4()) if request_id is None else request_id, condition=condition
    )


async def test_the_same_request_again_gets_the_same_answer_and_draws_nothing() -> None:
    replays, draws, request = Replays(), Draws(), ask()
    first = await replays.answer(request, "", draws.answer)
    again = GenerateImagesRequest.FromString(request.SerializeToString())
    again.request_id = again.request_id.upper()
    assert await replays.answer(again, "", draws.answer) == first
    assert replays.replayed == 1
    assert draws.times == 1


async def test_a_stream_is_repeated_from_its_first_event() -> None:
    replays, draws = Replays(), Draws()
    request = GenerateRequest(request_id=str(uuid.uuid4()))
    first = [event async for event in replays.events(request, "", draws.events)]
    assert [event async for event in replays.events(request, "", draws.events)] == first
    assert (len(first), draws.times) == (3, 1)


async def test_an_id_of_another_request_is_refused() -> None:
    replays, draws, request = Replays(), Draws(), ask("a bird")
    await replays.answer(request, "", draws.answer)
    with pytest.raises(Refusal) as refusal:
        await replays.answer(ask("an owl", request.request_id), "", draws.answer)
    assert refusal.value.code == code_pb2.ALREADY_EXISTS
    assert refusal.value.reason == "REQUEST_ID_REUSED"
    assert draws.times == 1


async def test_owners_do_not_see_each_others_answers() -> None:
    replays, draws, request = Replays(), Draws(), ask()
    one = await replays.answer(request, "one", draws.answer)
    other = await replays.answer(request, "other", draws.answer)
    assert one != other
    assert draws.times == 2


async def test_without_an_id_everything_is_drawn_anew() -> None:
    replays, draws = Replays(), Draws()
    for _ in range(2):
        await replays.answer(ask(request_id=""), "", draws.answer)
    assert draws.times == 2
    assert replays.bytes == 0


async def test_a_request_that_comes_again_meanwhile_waits_for_the_first() -> None:
    replays, draws, request = Replays(), Draws(), ask()
    draws.go.clear()
    both = [asyncio.create_task(replays.answer(request, "", draws.answer)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    draws.go.set()
    one, other = await asyncio.gather(*both)
    assert one == other
    assert draws.times == 1


async def test_when_the_first_is_cancelled_the_second_draws() -> None:
    replays, draws, request = Replays(), Draws(), ask()
    draws.go.clear()
    first = asyncio.create_task(replays.answer(request, "", draws.answer))
    await asyncio.sleep(0)
    second = asyncio.create_task(replays.answer(request, "", draws.answer))
    await asyncio.sleep(0)
    first.cancel()
    draws.go.set()
    assert len((await second).images) == 1
    assert draws.times == 2


async def test_a_refused_request_leaves_its_id_free() -> None:
    replays, draws, request = Replays(), Draws(), ask()
    draws.fault = RuntimeError("full")
    with pytest.raises(RuntimeError):
        await replays.answer(request, "", draws.answer)
    draws.fault = None
    await replays.answer(ask("an owl", request.request_id), "", draws.answer)


async def test_answers_are_bounded_in_bytes_and_an_old_one_is_drawn_again() -> None:
    replays, draws = Replays(most_bytes=2500), Draws(size=1000)
    requests = [ask(f"bird {n}") for n in range(3)]
    for request in requests:
        await replays.answer(request, "", draws.answer)
    assert replays.bytes <= 2500
    await replays.answer(requests[2], "", draws.answer)
    assert draws.times == 3
    await replays.answer(requests[0], "", draws.answer)
    assert draws.times == 4
    with pytest.raises(Refusal):
        await replays.answer(ask("an owl", requests[0].request_id), "", draws.answer)


async def test_an_answer_larger_than_all_room_is_given_and_not_kept() -> None:
    replays, draws, request = Replays(most_bytes=100), Draws(size=1000), ask()
    assert len((await replays.answer(request, "", draws.answer)).images) == 1
    assert replays.bytes == 0


async def test_ids_are_bounded_in_number_and_in_age() -> None:
    draws, request = Draws(), ask()
    few = Replays(most_ids=2)
    for other in (request, ask(), ask()):
        await few.answer(other, "", draws.answer)
    await few.answer(request, "", draws.answer)
    assert draws.times == 4
    brief = Replays(seconds=0.0)
    await brief.answer(request, "", draws.answer)
    await asyncio.sleep(0.01)
    await brief.answer(ask("an owl", request.request_id), "", draws.answer)
    assert brief.bytes <= 100
