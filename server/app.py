"""A server's life: bind, load, serve, drain."""

from __future__ import annotations

import asyncio
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from wsgiref.simple_server import WSGIServer

import grpc

from server.admin import AdminService
from server.backends import Backend
from server.backends.process import ProcessBackend
from server.backends.ray import RayBackend
from server.backends.thread import ThreadBackend
from server.copies import Copies
from server.engine import Engine
from server.guard import Guard
from server.health import Health
from server.jobs.runner import Jobs
from server.jobs.service import BatchService
from server.lag import LagProbe
from server.listening import bind, limits, reflect
from server.model_store import ModelStore
from server.model_watch import ModelWatch
from server.models import Models
from server.refusals import not_ready
from server.replays import Replays
from server.service import ImageService, ModelService
from server.settings import Settings
from server.telemetry import Metrics
from server.tokens import Tokens
from t2i.files import write_atomically
from t2i.protocol.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    batch_service_pb2,
    batch_service_pb2_grpc,
    image_service_pb2,
    image_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

__all__ = ["Server"]

_log = logging.getLogger("t2i.server")

_IMAGES: str = image_service_pb2.DESCRIPTOR.services_by_name["ImageService"].full_name
_MODELS: str = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
_JOBS: str = batch_service_pb2.DESCRIPTOR.services_by_name["BatchService"].full_name
_ADMIN: str = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
_PACKERS = 2
_START_SECONDS = 2.0
# Calls that come so long after the server was told to stop are answered as before, and those that
# come so long after the last answer are turned away in words.
_ON_THEIR_WAY_SECONDS = 0.25
# Ends health watchers, which never end by themselves, once our own calls are done.
_LAST_BYTES_SECONDS = 1.0


class Server:
    """A gRPC server of one or more models.

    Args:
        settings: how to serve.
        backend: where pictures are drawn; by default what the settings name.

    Raises:
        InvalidInput: the folder of jobs or of copies cannot be used, or another server uses it.
    """

    def __init__(self, settings: Settings, backend: Backend | None = None) -> None:
        self._settings = settings
        self._backend = backend or _backend(settings)
        self._engine = Engine(
            self._backend,
            max_batch=settings.max_batch,
            queue_limit=settings.queue_limit,
            queue_bytes=settings.queue_bytes,
        )
        self._store = ModelStore(
            self._backend,
            self._engine,
            settings.models,
            lazy=settings.lazy,
            memory_budget=settings.memory_budget,
            copies=None if settings.models_copy is None else Copies(settings.models_copy),
            able=lambda name, able: self._health.can_answer(name, able),
        )
        seconds = settings.watch_models
        self._watch = None if seconds is None else ModelWatch(self._store, seconds)
        replays = Replays(most_bytes=settings.replay_bytes, seconds=settings.replay_seconds)
        self._packers = ThreadPoolExecutor(_PACKERS, thread_name_prefix="pack")
        self._lag = LagProbe()
        self._replays = replays
        tokens = _tokens(settings)
        self._jobs = None if settings.jobs is None else Jobs(settings.jobs, self._engine, tokens)
        served = [_IMAGES, _MODELS] if self._jobs is None else [_IMAGES, _MODELS, _JOBS]
        self._health = Health(served, _IMAGES, lambda: self._store.loaded)
        self._metrics = Metrics(
            self._engine,
            replays,
            self._lag,
            lambda: self._health.serving,
            self._store,
            self._jobs,
        )
        self._guard = Guard(
            max_request_bytes=settings.max_request_bytes, tokens=tokens, done=self._metrics.done
        )
        self._metrics_server: WSGIServer | None = None
        self.metrics_port: int | None = None
        self._server = grpc.aio.server(
            interceptors=[self._guard],
            options=limits(settings),
        )
        images = ImageService(
            self._engine,
            self._ready,
            self._packers,
            replays,
            tokens=tokens,
            answered=self._metrics.answered,
        )
        image_service_pb2_grpc.add_ImageServiceServicer_to_server(images, self._server)
        models = ModelService(self._loaded)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, self._server)
        batch = BatchService(self._jobs, self._loaded)
        batch_service_pb2_grpc.add_BatchServiceServicer_to_server(batch, self._server)
        self._health.mount(self._server)
        reflect(served, self._server)
        self._ending: asyncio.Task[None] | None = None
        self._admin = None if settings.admin is None else self._admin_server(settings)
        self.port = settings.port
        self.admin_port = None if settings.admin is None else settings.admin[1]

    @property
    def address(self) -> str:
        """`host:port` with the port that was bound."""
        return f"{self._settings.address.rpartition(':')[0]}:{self.port}"

    @property
    def admin_address(self) -> str | None:
        """The same of the service for operators; None where there is none."""
        address = self._settings.admin_address
        return None if address is None else f"{address.rpartition(':')[0]}:{self.admin_port}"

    @property
    def waiting(self) -> int:
        """Pictures that wait for a worker."""
        return self._engine.waiting

    @property
    def held_bytes(self) -> int:
        """Bytes that requests and their pictures hold until they are sent."""
        return self._engine.held_bytes

    def report(self) -> dict[str, object]:
        """Return what the server did since it was ready, as JSON can hold it."""
        return {
            "engine": asdict(self._engine.counts),
            "replayed": self._replays.replayed,
            "event_loop": asdict(self._lag.lags()),
        }

    def _loaded(self) -> Models:
        if self._store.models is None:
            raise not_ready(_START_SECONDS)
        return self._store.models

    async def _ready(self, name: str) -> Models:
        self._loaded()
        return await self._store.ready(name)

    def _admin_server(self, settings: Settings) -> grpc.aio.Server:
        token = settings.admin_token
        guard = Guard(
            max_request_bytes=settings.max_request_bytes,
            tokens=None if token is None else Tokens.of_one(token),
            done=self._metrics.done,
        )
        server = grpc.aio.server(interceptors=[guard], options=limits(settings))
        service = AdminService(self._store, settings.models_root)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(service, server)
        reflect([_ADMIN], server)
        return server

    async def start(self) -> None:
        """Bind the address and answer; health is NOT_SERVING until `load` is done.

        Raises:
            InvalidInput: the address cannot be bound, or the TLS files cannot be used.
        """
        settings = self._settings
        await self._health.tell(serving=False)
        secure = settings.tls_cert is not None
        self.port = bind(self._server, settings, "address", settings.address, secure=secure)
        if self._admin is not None and settings.admin_address is not None:
            # As with every address: in the clear on this machine, and nowhere else.
            self.admin_port = bind(
                self._admin,
                settings,
                "admin",
                settings.admin_address,
                secure=not settings.admin_is_loopback,
            )
        if settings.metrics is not None:
            host, port = settings.metrics
            self._metrics_server, self.metrics_port = self._metrics.serve(host, port)
        await self._server.start()
        if self._admin is not None:
            await self._admin.start()
        if settings.port_file is not None:
            write_atomically(settings.port_file, f"{self.port}\n".encode())

    async def load(self) -> None:
        """Load and warm up the models, then serve.

        With `lazy` or a memory budget their bundles are checked, and those that are not loaded now
        are loaded when they are asked for.

        Raises:
            T2IError: a model cannot be loaded.
        """
        models = await self._store.open()
        # Models, their libraries and the warm-up stay as long as the process: the collector need
        # not go through a million objects again and again, and hold up every request meanwhile.
        gc.collect()
        gc.freeze()
        _log.info("models: %s", ", ".join(info.name for info in models.list()))
        self._lag.start()
        if self._jobs is not None:
            await self._jobs.start(self._store)
        await self._health.tell(serving=True)
        self._backend.watch(self._health.can_draw)
        if self._watch is not None:
            self._watch.start()

    async def refresh(self) -> None:
        """Swap every model whose bundle is another version by now; see `ModelStore.refresh`."""
        if self._store.models is not None:
            await self._store.refresh()

    @property
    def changing(self) -> bool:
        """Whether a model is being loaded, unloaded or swapped."""
        return self._store.busy

    async def stop(self, drain_seconds: float | None = None) -> None:
        """Tell health NOT_SERVING, let running calls finish, and end.

        Args:
            drain_seconds: when to cancel what still runs; None for the setting.
        """
        if drain_seconds is None:
            drain_seconds = self._settings.drain_seconds
        if self._watch is not None:
            self._watch.stop()
        await self._health.end()
        # Who saw NOT_SERVING too late still has a call on its way.
        moment = min(_ON_THEIR_WAY_SECONDS, drain_seconds)
        await asyncio.sleep(moment)
        self._guard.turn_away()
        if self._admin is not None:
            await self._admin.stop(0)
        # Jobs go on in the next server; who watches one would otherwise be waited for.
        giving_up = None if self._jobs is None else asyncio.create_task(self._jobs.stop())
        grace = _LAST_BYTES_SECONDS
        try:
            async with asyncio.timeout(drain_seconds):
                await self._guard.wait_idle()
        except TimeoutError:
            grace = 0.0
        else:
            # Whoever had its answer just now asks again. It is told to go elsewhere; gRPC itself
            # cuts off what comes in just as it closes, without a word.
            await asyncio.sleep(moment)
        # Once only: gRPC frees the server at the end, and a second call would stop a freed one.
        if self._ending is None:
            self._ending = asyncio.create_task(self._server.stop(grace))
        await self._ending
        if self._jobs is not None and giving_up is not None:
            await giving_up
            await self._jobs.close()
        self._lag.stop()
        await self._store.close()
        await self._engine.close()
        await self._backend.close()
        self._packers.shutdown()
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.shutdown)
            self._metrics_server.server_close()


def _tokens(settings: Settings) -> Tokens | None:
    if settings.tokens_file is not None:
        return Tokens.from_file(settings.tokens_file)
    return None if settings.token is None else Tokens.of_one(settings.token)


def _backend(settings: Settings) -> Backend:
    match settings.backend:
        case "thread":
            return ThreadBackend(workers=settings.workers, device=settings.device)
        case "process":
            return ProcessBackend(workers=settings.workers, device=settings.device)
        case "ray":
            return RayBackend(
                workers=settings.workers, device=settings.device, address=settings.ray_address
            )
