"""Whether requests can be answered, as the standard health service tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from server.background import Background

__all__ = ["Health"]


class Health:
    """The health of a server, of its services, and of each model. On the event loop.

    Args:
        services: full names of the services. The empty name, the whole server's, goes with them.
        prefix: a model's health has the name `PREFIX/MODEL`.
        models: tells the names of the models that there are.
    """

    def __init__(
        self, services: Sequence[str], prefix: str, models: Callable[[], Iterable[str]]
    ) -> None:
        self._names, self._prefix, self._models = ("", *services), prefix, models
        self._servicer = health.aio.HealthServicer()
        self._serving = False
        # Models that could not be loaded when they were last asked for, or are no more.
        self._unable: set[str] = set()
        self._background = Background()

    @property
    def serving(self) -> bool:
        """Whether anything can draw; for any thread."""
        return self._serving

    def mount(self, server: grpc.aio.Server) -> None:
        """Let a server answer for it."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def can_draw(self, able: bool) -> None:
        """Take note whether there is a worker left."""
        self._background.start(self.tell(serving=able))

    def can_answer(self, model: str, able: bool) -> None:
        """Take note whether requests for a model can be answered."""
        if able:
            self._unable.discard(model)
        else:
            self._unable.add(model)
        self.can_draw(self._serving)

    async def tell(self, *, serving: bool) -> None:
        """Tell SERVING of everything but models that are not able, or NOT_SERVING of everything."""
        self._serving = serving
        status = health_pb2.HealthCheckResponse
        models = self._unable.union(self._models())
        able = {f"{self._prefix}/{name}": name not in self._unable for name in models}
        for name in (*self._names, *able):
            answers = serving and able.get(name, True)
            await self._servicer.set(name, status.SERVING if answers else status.NOT_SERVING)

    async def end(self) -> None:
        """Tell NOT_SERVING of everything from now on, whatever becomes of workers and models."""
        await self._servicer.enter_graceful_shutdown()
