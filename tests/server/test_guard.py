from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import grpc
import pytest

from server.guard import Guard
from server.refusals import queue_full
from server.telemetry import Done
from t2i.protocol.v1 import model_service_pb2, model_service_pb2_grpc


class Busy(model_service_pb2_grpc.ModelServiceServicer):
    """Keeps the event loop until the caller has left, and then refuses."""

    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: Any
    ) -> model_service_pb2.GetModelResponse:
        time.sleep(0.3)
        raise queue_full(1.0)


def ask(address: str) -> grpc.StatusCode:
    with grpc.insecure_channel(address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetModel(model_service_pb2.GetModelRequest(), timeout=0.1)
        return caught.value.code()


async def test_a_refusal_of_a_caller_who_has_left_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[Done] = []
    guard = Guard(max_request_bytes=1024, tokens=None, done=done.append)
    server = grpc.aio.server(interceptors=[guard])
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Busy(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with caplog.at_level(logging.ERROR):
        code = await asyncio.to_thread(ask, f"127.0.0.1:{port}")
        await guard.wait_idle()
        await server.stop(1.0)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [call.code for call in done] == ["CANCELLED"]
    assert not caplog.records
