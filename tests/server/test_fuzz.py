"""Bytes that no client sends: every one is answered, none harms, no answer tells what is inside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.timed import TimedBackend
from server.app import Server
from server.settings import Settings
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1.image_service_pb2 import GenerateImagesRequest, GenerateRequest

TOGETHER = 20
METHODS = (
    "/t2i.v1.ImageService/Generate",
    "/t2i.v1.ImageService/GenerateImages",
    "/t2i.v1.ModelService/GetModel",
    "/t2i.v1.ModelService/ListModels",
)
# Faults of the server; a stranger's bytes must never be one.
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}
# What only someone who reads the source could know.
INSIDE = ("Traceback", "_pb2", "object at 0x", ".py", "google.protobuf", "asyncio", "self.")

VALID = [
    GenerateRequest(condition=pb.Condition(text=pb.TextCondition(text="a bird")), count=2),
    GenerateRequest(
        condition=pb.Condition(text=pb.TextCondition(text="a bird")), count=2, group_events=True
    ),
    GenerateImagesRequest(
        condition=pb.Condition(text=pb.TextCondition(text="a bird")),
        seeds=[1, 2, 3],
        options=pb.GenerateOptions(truncation=0.5),
        model="timed",
    ),
    GenerateImagesRequest(condition=pb.Condition(label=pb.LabelCondition(name="red")), count=99),
    GenerateImagesRequest(condition=pb.Condition(code=pb.CodeCondition(continuous=[1.0]))),
]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Noise, or a valid request with some of its bytes changed, cut off, doubled or moved."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(VALID)).SerializeToString())
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("flip", "cut", "double", "insert", "drop"))):
            case "flip" if data:
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                data = data[:place]
            case "double":
                data += data[place:]
            case "insert":
                data[place:place] = draw(st.binary(max_size=8))
            case "drop":
                data[place : place + draw(st.integers(1, 4))] = b""
    return bytes(data)


calls = st.lists(
    st.tuples(st.sampled_from(METHODS), messages()), min_size=TOGETHER, max_size=TOGETHER
)


@pytest.fixture(scope="module")
def channel() -> Iterator[grpc.Channel]:
    """A channel to a real server in another thread, whose model takes no time."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> Server:
        server = Server(Settings(models=("timed",), port=0), TimedBackend())
        await server.start()
        await server.load()
        return server

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(30)
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel
    asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def ask_all(channel: grpc.Channel, asked: list[tuple[str, bytes]]) -> None:
    """Send all at once, as a server-side stream where the method is one; check each answer."""
    running = []
    for method, data in asked:
        if method.endswith("/Generate"):
            running.append(channel.unary_stream(method)(data, timeout=30))
        else:
            running.append(channel.unary_unary(method).future(data, timeout=30))
    for (method, data), call in zip(asked, running, strict=True):
        try:
            list(call) if method.endswith("/Generate") else call.result()
        except grpc.RpcError as error:
            assert error.code() not in FAULTS, (method, data, error)  # type: ignore[attr-defined]
            check_silence(error)


def check_silence(error: grpc.RpcError) -> None:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    texts = [status.message]
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            texts += [violation.description for violation in bad.field_violations]
    for text in texts:
        assert not any(inside in text for inside in INSIDE), text


def alive(channel: grpc.Channel) -> None:
    answer = channel.unary_unary(METHODS[1])(VALID[2].SerializeToString(), timeout=30)
    assert answer


@given(calls)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_two_thousand_strange_messages_are_answered(
    channel: grpc.Channel, asked: list[tuple[str, bytes]]
) -> None:
    ask_all(channel, asked)
    alive(channel)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(calls)
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_hundred_thousand_strange_messages_are_answered(
    channel: grpc.Channel, asked: list[tuple[str, bytes]]
) -> None:
    ask_all(channel, asked)
