"""gRPC alone: the same calls and answers as a served picture, with nothing behind them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from benchmarks.timed import RESOLUTIONS
from t2i.files import write_atomically
from t2i.protocol.v1 import conditions_pb2, image_service_pb2, image_service_pb2_grpc

__all__ = ["serve_bare"]


class _Ready(image_service_pb2_grpc.ImageServiceServicer):
    """Gives the same grey picture to everyone."""

    def __init__(self) -> None:
        *previews, image = (
            conditions_pb2.GeneratedImage(
                stage=stage,
                width=side,
                height=side,
                format=conditions_pb2.IMAGE_FORMAT_RAW,
                data=bytes([128]) * (3 * side**2),
            )
            for stage, side in enumerate(RESOLUTIONS)
        )
        accepted = image_service_pb2.GenerateAccepted(seeds=[0], resolutions=RESOLUTIONS)
        completed = image_service_pb2.GenerateCompleted(
            image=image,
            previews=previews,
            finished=image_service_pb2.GenerateFinished(count=1),
        )
        self._answer = image_service_pb2.GenerateImagesResponse(images=[image])
        # As the client asks for them: in groups.
        self._events = (
            image_service_pb2.GenerateEvent(accepted=accepted),
            image_service_pb2.GenerateEvent(completed=completed),
        )

    async def GenerateImages(
        self, request: image_service_pb2.GenerateImagesRequest, context: Any
    ) -> image_service_pb2.GenerateImagesResponse:
        """Answer at once."""
        return self._answer

    async def Generate(
        self, request: image_service_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[image_service_pb2.GenerateEvent]:
        """Send all events at once."""
        for event in self._events:
            yield event


async def serve_bare(port_file: Path) -> None:
    """Serve until SIGTERM.

    Args:
        port_file: where the port is written.
    """
    server = grpc.aio.server()
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(_Ready(), server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await server.start()
    write_atomically(port_file, str(port).encode())
    await stop.wait()
    await server.stop(0)
