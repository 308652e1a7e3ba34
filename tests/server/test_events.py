"""Both forms of a stream from a real server, as they come and through both clients."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest
import pytest_asyncio

import t2i.client as sdk
from server.app import Server
from server.backends import Batch, Item
from server.backends.thread import ThreadBackend
from server.events import completed, to_send
from server.settings import MAX_RESPONSE_BYTES, Settings
from t2i.client import AsyncClient, Client
from t2i.client.messages import events_from_message
from t2i.encoders import caption_statistics, load_text_encoder
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1.image_service_pb2 import GenerateEvent, GenerateFinished, GenerateRequest
from t2i.protocol.v1.image_service_pb2_grpc import ImageServiceStub
from tests.t2i.small_bundle import TRAINING_CAPTIONS, save_attentive, save_scored, save_small

pytestmark = pytest.mark.asyncio(loop_scope="module")

RED = "small bird with red head"
MOST_IN_A_BATCH = 4
ASKED: dict[str, dict[str, Any]] = {
    "one picture": {"seeds": [7]},
    "several parts": {"seeds": [*range(10)]},
    "no previews": {"seeds": [7, 8], "previews": False},
    "best of": {"seeds": [7, 8, 9], "best_of": 3, "model": "scored"},
    "attention": {"seeds": [7, 8], "attention": True, "model": "attentive"},
}


class Breaking(ThreadBackend):
    """Draws as always, but for batches with one of these seeds."""

    def __init__(self) -> None:
        super().__init__(workers=1, device="cpu")
        self.broken: set[int] = set()
        self.drawn = 0
        self.go = asyncio.Event()
        self.go.set()
        self._one_by_one = asyncio.Lock()

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        async with self._one_by_one:
            wanted = begin()
            await self.go.wait()
            if self.broken.intersection(item.seed for item in items):
                raise RuntimeError("out of paint")
            self.drawn += sum(wanted)
            return await super().run(model, items, lambda: wanted)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Server, Breaking]]:
    """A server of three models, the first of which knows which captions it has learned."""
    folder, backend = tmp_path_factory.mktemp("bundles"), Breaking()
    statistics = caption_statistics(load_text_encoder().encode_batch(TRAINING_CAPTIONS))
    models = (
        save_small(folder / "small", extra_states={"statistics": statistics}),
        save_scored(folder / "scored", "scored"),
        save_attentive(folder / "attentive"),
    )
    settings = Settings(models=tuple(map(str, models)), port=0, max_batch=MOST_IN_A_BATCH)
    server = Server(settings, backend)
    await server.start()
    await server.load()
    yield server, backend
    await server.stop(0)


@pytest.fixture
def server(served: tuple[Server, Breaking]) -> Server:
    return served[0]


@pytest.fixture
def backend(served: tuple[Server, Breaking]) -> Breaking:
    return served[1]


@pytest_asyncio.fixture(loop_scope="module")
async def stub(server: Server) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield ImageServiceStub(channel)


def request(words: str = RED, **fields: Any) -> GenerateRequest:
    condition = pb.Condition(text=pb.TextCondition(text=words))
    options = pb.GenerateOptions(format=pb.IMAGE_FORMAT_RAW)
    return GenerateRequest(condition=condition, options=options, **fields)


async def events(stub: Any, request: GenerateRequest) -> list[GenerateEvent]:
    return [event async for event in stub.Generate(request)]


def kinds(events: Sequence[GenerateEvent]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def apart(grouped: Sequence[GenerateEvent]) -> list[GenerateEvent]:
    """What a client makes of grouped events, by the words of the protocol."""
    found = []
    for event in grouped:
        if event.HasField("completed"):
            for preview in event.completed.previews:
                found.append(GenerateEvent())
                found[-1].preview.image.CopyFrom(preview)
            found.append(GenerateEvent())
            found[-1].completed.image.CopyFrom(event.completed.image)
            if event.completed.HasField("finished"):
                found.append(GenerateEvent(finished=event.completed.finished))
        else:
            found.append(event)
    return found


def pictures(events: Sequence[GenerateEvent]) -> dict[int, list[GenerateEvent]]:
    """The events of each picture, in their order; which picture is done first is chance."""
    found: dict[int, list[GenerateEvent]] = {}
    for event in events[1:-1]:
        step = event.preview if event.HasField("preview") else event.completed
        found.setdefault(step.image.index, []).append(event)
    return found


@pytest.mark.parametrize("name", ASKED)
async def test_grouped_events_hold_what_single_ones_do(stub: Any, name: str) -> None:
    single = await events(stub, request(**ASKED[name]))
    grouped = await events(stub, request(**ASKED[name], group_events=True))
    count = len(ASKED[name]["seeds"])
    previews = 0 if "previews" in ASKED[name] else len(single[0].accepted.resolutions) - 1
    a_picture = ["preview"] * previews + ["completed"]
    assert kinds(single) == ["accepted", *a_picture * count, "finished"]
    assert not any(e.completed.previews or e.completed.HasField("finished") for e in single)
    assert kinds(grouped) == ["accepted", *["completed"] * count]
    assert [e.completed.HasField("finished") for e in grouped] == [False] * count + [True]
    assert pictures(apart(grouped)) == pictures(single)
    assert kinds(apart(grouped)) == kinds(single)
    first, other = (each[0].accepted for each in (single, grouped))
    assert (first.seeds, first.model) == (other.seeds, other.model)
    end, last = single[-1].finished, grouped[-1].completed.finished
    assert (end.count, end.request_id) == (count, first.request_id)
    assert (last.count, last.request_id) == (count, other.request_id)
    assert last.timings.total_ms >= last.timings.generate_ms > 0
    if name == "best of":
        assert all(event.completed.image.HasField("score") for event in grouped[1:])
    if name == "attention":
        for event in grouped[1:]:
            assert [map.word for map in event.completed.image.attention] == RED.split()
            assert not any(preview.attention for preview in event.completed.previews)


async def test_a_way_and_its_warnings_come_in_groups_too(stub: Any) -> None:
    far = pb.Condition(text=pb.TextCondition(text="quarterly tax report"))
    way = pb.Interpolation(condition=far, places=[0, 0.5, 1])
    single = await events(stub, request(seeds=[7], interpolation=way))
    grouped = await events(stub, request(seeds=[7], interpolation=way, group_events=True))
    assert kinds(grouped) == ["accepted", *["completed"] * 3]
    assert pictures(apart(grouped)) == pictures(single)
    warnings = list(single[-1].finished.warnings)
    assert {warning.reason for warning in warnings} == {"UNFAMILIAR_CONDITION"}
    assert list(grouped[-1].completed.finished.warnings) == warnings


@pytest.mark.parametrize("first", [False, True])
async def test_a_request_that_comes_again_gets_the_form_that_it_asks_for_now(
    stub: Any, server: Server, backend: Breaking, first: bool
) -> None:
    asked = {"request_id": str(uuid.uuid4()), "seeds": [7, 8]}
    once = await events(stub, request(**asked, group_events=first))
    drawn, replayed = backend.drawn, server.report()["replayed"]
    assert isinstance(replayed, int)
    again = await events(stub, request(**asked, group_events=not first))
    assert (backend.drawn, server.report()["replayed"]) == (drawn, replayed + 1)
    single, grouped = (again, once) if first else (once, again)
    assert kinds(grouped) == ["accepted", "completed", "completed"]
    assert single == apart(grouped)
    assert await events(stub, request(**asked, group_events=first)) == once


async def test_what_was_drawn_before_a_fault_is_sent_and_nothing_is_finished(
    stub: Any, backend: Breaking
) -> None:
    for grouped in (False, True):
        backend.broken, got = {5}, []
        with pytest.raises(grpc.aio.AioRpcError) as error:
            async for event in stub.Generate(request(seeds=[*range(6)], group_events=grouped)):
                got.append(event)
        backend.broken = set()
        assert error.value.code() == grpc.StatusCode.INTERNAL
        whole = apart(got)
        assert sum(event.HasField("completed") for event in whole) == MOST_IN_A_BATCH
        assert "finished" not in kinds(whole)


def answer(*sizes: int) -> GenerateEvent:
    """The event of a picture whose stages have so many bytes."""
    stages = [pb.GeneratedImage(stage=n, data=bytes(size)) for n, size in enumerate(sizes)]
    return completed(stages, GenerateFinished(count=1))


async def test_a_picture_that_fits_into_no_message_with_its_previews_comes_apart() -> None:
    preview, final = 1_200_000, 3_000_000
    fits, large = answer(1, 2, 3), answer(preview, final)
    (message,) = to_send(fits, grouped=True)
    assert message is fits
    messages = [*to_send(large, grouped=True)]
    assert kinds(messages) == ["preview", "completed", "finished"]
    assert messages == [*to_send(large, grouped=False)] == apart([large])
    # To the byte.
    most = preview - (large.ByteSize() - MAX_RESPONSE_BYTES)
    counts = [len([*to_send(answer(size, final), grouped=True)]) for size in (most, most + 1)]
    assert counts == [1, 3]


def typed(messages: Sequence[GenerateEvent]) -> list[sdk.GenerateEvent]:
    return [event for message in messages for event in events_from_message(message)]


def told(events: Sequence[sdk.GenerateEvent]) -> tuple[object, ...]:
    """What both forms of a stream must tell; ids and times are each request's own."""
    first, *middle, last = events
    assert isinstance(first, sdk.Accepted) and isinstance(last, sdk.Finished)
    assert first.request_id == last.request_id and last.timings.total_ms > 0
    seen: dict[int, list[sdk.GenerateEvent]] = {}
    for event in middle:
        assert isinstance(event, sdk.Preview | sdk.Completed)
        seen.setdefault(event.image.index, []).append(event)
    return first.seeds, first.model, first.resolutions, seen, last.count, last.warnings


@pytest.mark.parametrize("name", ASKED)
async def test_both_clients_hand_on_the_events_of_a_plain_stream(
    stub: Any, server: Server, name: str
) -> None:
    expected = told(typed(await events(stub, request(**ASKED[name]))))

    def ask() -> list[sdk.GenerateEvent]:
        with Client(server.address) as client:
            return list(client.generate(RED, format="raw", **ASKED[name]))

    assert told(await asyncio.to_thread(ask)) == expected
    async with AsyncClient(server.address) as client:
        got = [event async for event in client.generate(RED, format="raw", **ASKED[name])]
    assert told(got) == expected


async def test_the_clients_tell_what_was_drawn_before_a_fault(
    server: Server, backend: Breaking
) -> None:
    backend.broken = {5}
    got: list[sdk.GenerateEvent] = []
    async with AsyncClient(server.address) as client:
        with pytest.raises(sdk.InternalError):
            async for event in client.generate(RED, seeds=[*range(6)]):
                got.append(event)
    backend.broken = set()
    assert sum(isinstance(event, sdk.Completed) for event in got) == MOST_IN_A_BATCH
    assert not any(isinstance(event, sdk.Finished) for event in got)


async def test_a_stream_that_is_left_after_it_was_accepted_is_not_drawn(
    server: Server, backend: Breaking
) -> None:
    backend.go.clear()
    drawn = backend.drawn
    async with AsyncClient(server.address) as client:
        # What may still be made up while the first batch is at the worker.
        most = 2 * MOST_IN_A_BATCH
        async with client.generate(RED, seeds=[*range(16)]) as stream:
            assert isinstance(await anext(stream), sdk.Accepted)
            assert server.waiting > 0
        async with asyncio.timeout(10):
            while server.waiting:
                await asyncio.sleep(0.005)
        backend.go.set()
        await client.generate_images(RED)
    assert backend.drawn - drawn <= most + 1
