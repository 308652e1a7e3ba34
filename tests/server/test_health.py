from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.health import Health

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def asked() -> AsyncIterator[tuple[Health, health_pb2_grpc.HealthStub]]:
    """A health with one service and the models a and b, and what asks it."""
    health = Health(["t2i.Images"], "t2i.Images", lambda: ["a", "b"])
    server = grpc.aio.server()
    health.mount(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health, health_pb2_grpc.HealthStub(channel)
    await server.stop(0)


async def told(stub: health_pb2_grpc.HealthStub) -> list[int]:
    names = ("", "t2i.Images", "t2i.Images/a", "t2i.Images/b")
    return [
        (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status for name in names
    ]


async def test_a_model_that_cannot_be_loaded_takes_nothing_else_with_it(
    asked: tuple[Health, health_pb2_grpc.HealthStub],
) -> None:
    health, stub = asked
    await health.tell(serving=True)
    assert health.serving and await told(stub) == [SERVING] * 4
    health.can_answer("a", False)
    await asyncio.sleep(0.01)
    assert health.serving and await told(stub) == [SERVING, SERVING, NOT_SERVING, SERVING]
    # It stays so while the workers are away, and when they are back.
    for able in (False, True):
        health.can_draw(able)
        await asyncio.sleep(0.01)
        others = SERVING if able else NOT_SERVING
        assert health.serving == able
        assert await told(stub) == [others, others, NOT_SERVING, others]
    health.can_answer("a", True)
    await asyncio.sleep(0.01)
    assert await told(stub) == [SERVING] * 4


async def test_who_stops_is_not_serving_whatever_comes_after(
    asked: tuple[Health, health_pb2_grpc.HealthStub],
) -> None:
    health, stub = asked
    await health.tell(serving=True)
    await health.end()
    await health.tell(serving=True)
    assert await told(stub) == [NOT_SERVING] * 4
