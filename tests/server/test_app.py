"""A server's life: starting, trouble, overload, stopping."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from server.app import Server
from server.settings import Settings
from t2i.errors import InvalidInput
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1.image_service_pb2 import GenerateImagesRequest, GenerateRequest
from t2i.protocol.v1.image_service_pb2_grpc import ImageServiceStub
from t2i.protocol.v1.model_service_pb2 import ListModelsRequest
from t2i.protocol.v1.model_service_pb2_grpc import ModelServiceStub

# Server, a conftest.HeldBackend, and a channel.
Held = tuple[Server, Any, grpc.aio.Channel]
BIRD = pb.Condition(text=pb.TextCondition(text="a bird"))
TOKEN = "0123456789abcdef-a-token"
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.005)


async def health(channel: grpc.aio.Channel) -> int:
    request = health_pb2.HealthCheckRequest()
    return int((await health_pb2_grpc.HealthStub(channel).Check(request)).status)


def reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return info.reason


async def test_before_the_models_are_loaded_it_answers_that_it_is_starting(
    settings: Settings,
) -> None:
    server = Server(settings)
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await health(channel) == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ImageServiceStub(channel).GenerateImages(GenerateImagesRequest(condition=BIRD))
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert reason(error.value) == "STARTING"
    await server.stop(0)


async def test_a_taken_port_is_refused_in_one_line(held: Held, settings: Settings) -> None:
    taken = Settings(models=settings.models, port=held[0].port)
    second = Server(taken)
    with pytest.raises(InvalidInput, match="cannot be bound"):
        await second.start()
    await second.stop(0)


async def test_a_full_queue_is_answered_with_when_to_come_back(
    bundle: Path, held_backend: Any
) -> None:
    backend = held_backend
    server = Server(Settings(models=(str(bundle),), port=0, max_batch=8, queue_limit=16), backend)
    await server.start()
    await server.load()
    backend.begun.clear()
    backend.go.clear()
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = ImageServiceStub(channel)
        first = stub.GenerateImages(GenerateImagesRequest(condition=BIRD, count=8))
        await until(lambda: backend.begun == [8])
        second = stub.GenerateImages(GenerateImagesRequest(condition=BIRD, count=16))
        await until(lambda: server.waiting == 16)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GenerateImages(GenerateImagesRequest(condition=BIRD))
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason(error.value) == "QUEUE_FULL"
        status = rpc_status.from_call(error.value)  # type: ignore[arg-type]
        assert status is not None
        retry = error_details_pb2.RetryInfo()
        assert any(packed.Unpack(retry) for packed in status.details)
        assert retry.retry_delay.ToNanoseconds() > 0
        backend.go.set()
        assert len((await first).images) == 8
        assert len((await second).images) == 16
    await server.stop(0)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
async def test_a_request_given_up_while_it_waits_reaches_no_worker(held: Held, end: str) -> None:
    server, backend, channel = held
    stub = ImageServiceStub(channel)
    backend.go.clear()
    running = stub.GenerateImages(GenerateImagesRequest(condition=BIRD))
    await until(lambda: backend.begun == [1])
    timeout = 0.7 if end == "expired" else None
    waits = stub.Generate(GenerateRequest(condition=BIRD, count=5), timeout=timeout)
    await until(lambda: server.waiting == 5)
    if end == "cancelled":
        waits.cancel()
    await until(lambda: server.waiting == 0)
    backend.go.set()
    await running
    await stub.GenerateImages(GenerateImagesRequest(condition=BIRD, count=2))
    assert backend.begun == [1, 2]


async def test_an_internal_fault_tells_the_log_and_not_the_caller(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    _, backend, channel = held
    backend.fault = RuntimeError("cannot read /home/someone/secret")
    request = GenerateImagesRequest(request_id=str(uuid.uuid4()), condition=BIRD)
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as error:
        await ImageServiceStub(channel).GenerateImages(request)
    assert error.value.code() == grpc.StatusCode.INTERNAL
    told = f"{error.value.details()} {rpc_status.from_call(error.value)}"  # type: ignore[arg-type]
    assert "secret" not in told and "RuntimeError" not in told
    assert request.request_id in caplog.text
    assert "cannot read /home/someone/secret" in caplog.text
    backend.fault = None
    answer = await ImageServiceStub(channel).GenerateImages(GenerateImagesRequest(condition=BIRD))
    assert len(answer.images) == 1


async def test_stopping_turns_not_serving_and_lets_running_requests_finish(held: Held) -> None:
    server, backend, channel = held
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    seen = aiter(watch)
    await anext(seen)
    backend.go.clear()
    running = ImageServiceStub(channel).Generate(GenerateRequest(condition=BIRD, count=10))
    await until(lambda: backend.begun == [8])
    stopping = asyncio.create_task(server.stop(20))
    assert (await anext(seen)).status == NOT_SERVING
    await asyncio.sleep(0.5)
    assert not stopping.done()
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await ImageServiceStub(channel).GenerateImages(GenerateImagesRequest(condition=BIRD))
    assert late.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "the server is stopping" in (late.value.details() or "")
    backend.go.set()
    events = [event.WhichOneof("event") async for event in running]
    assert events.count("completed") == 10
    assert events[-1] == "finished"
    # The health watcher never ends by itself, and must not hold up the end.
    await asyncio.wait_for(stopping, 5)


async def test_a_request_that_outlasts_the_drain_is_cancelled(held: Held) -> None:
    server, backend, channel = held
    backend.go.clear()
    running = ImageServiceStub(channel).GenerateImages(GenerateImagesRequest(condition=BIRD))
    await until(lambda: backend.begun == [1])
    stopping = asyncio.create_task(server.stop(0.2))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await running
    assert error.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    backend.go.set()
    await asyncio.wait_for(stopping, 5)


@pytest.mark.parametrize("sent", [None, "Bearer wrong-token-wrong-token", TOKEN, "Bearer "])
async def test_a_call_without_the_right_token_is_refused_but_health_answers(
    bundle: Path, sent: str | None
) -> None:
    server = Server(Settings(models=(str(bundle),), port=0, token=TOKEN))
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        metadata = None if sent is None else (("authorization", sent),)
        for call in (
            ModelServiceStub(channel).ListModels(ListModelsRequest(), metadata=metadata),
            channel.unary_unary("/t2i.v1.ImageService/GenerateImages")(b"\xff", metadata=metadata),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert TOKEN not in str(error.value.details())
        assert await health(channel) == NOT_SERVING
    await server.stop(0)


async def test_over_tls_with_the_token_it_serves(settings: Settings, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    server = Server(
        Settings(
            models=settings.models, host="0.0.0.0", port=0, tls_cert=cert, tls_key=key, token=TOKEN
        )
    )
    await server.start()
    await server.load()
    trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", trust) as channel:
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        answer = await ImageServiceStub(channel).GenerateImages(
            GenerateImagesRequest(condition=BIRD), metadata=metadata
        )
        assert len(answer.images) == 1
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as plain:
        with pytest.raises(grpc.aio.AioRpcError):
            await health(plain)
    await server.stop(0)


async def test_a_key_of_another_certificate_is_refused_at_the_start(
    settings: Settings, tmp_path: Path
) -> None:
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(cert)
    authority.issue_cert("localhost").private_key_pem.write_to_path(key)
    server = Server(Settings(models=settings.models, port=0, tls_cert=cert, tls_key=key))
    with pytest.raises(InvalidInput, match="cannot be used"):
        await server.start()
    await server.stop(0)
