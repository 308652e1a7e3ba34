from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import grpc
import pytest
import torch

from server.app import Server
from server.backends import Batch, Item
from server.backends.thread import ThreadBackend
from server.settings import Settings
from t2i.bundle import Bundle
from t2i.encoders import load_text_encoder
from t2i.networks import StageGenerator
from t2i.pipeline import Pipeline

NAME = "untrained-birds"
RESOLUTIONS = (8, 16, 32)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle of a small generator that never learned anything."""
    torch.manual_seed(0)
    encoder = load_text_encoder()
    network = StageGenerator(
        condition_dim=encoder.dim,
        resolutions=RESOLUTIONS,
        noise_dim=16,
        conditioning_dim=16,
        width=8,
        max_channels=16,
    )
    folder = tmp_path_factory.mktemp("bundles") / NAME
    config = {
        "format": 1,
        "name": NAME,
        "version": "3",
        "network": {"class": "StageGenerator", "arguments": network.config},
        "conditions": ["text"],
        "encoder": {"id": encoder.id, "dim": encoder.dim},
        "resolutions": list(RESOLUTIONS),
        "value_range": [-1, 1],
        "labels": [],
        "training": {},
    }
    Bundle.save(folder, config=config, generator_state=network.state_dict(), card="# Untrained\n")
    return folder


@pytest.fixture(scope="session")
def pipeline(bundle: Path) -> Pipeline:
    """The same model in this process, to compare with."""
    return Pipeline.from_pretrained(bundle)


class HeldBackend(ThreadBackend):
    """Draws as always, but only while `go` is set; counts the pictures that reach it."""

    def __init__(self) -> None:
        super().__init__(workers=1, device="cpu")
        self.go = asyncio.Event()
        self.go.set()
        self.begun: list[int] = []
        self.fault: Exception | None = None
        self._one_by_one = asyncio.Lock()

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        async with self._one_by_one:
            wanted = sum(begin())
            if wanted:
                self.begun.append(wanted)
            await self.go.wait()
            if self.fault is not None:
                raise self.fault
            return await super().run(model, items, begin)


@pytest.fixture(scope="session")
def settings(bundle: Path) -> Settings:
    return Settings(models=(str(bundle),), port=0, device="cpu", max_batch=8)


@pytest.fixture
async def held_backend() -> HeldBackend:
    return HeldBackend()


@pytest.fixture
async def held(
    settings: Settings, held_backend: HeldBackend
) -> AsyncIterator[tuple[Server, HeldBackend, grpc.aio.Channel]]:
    """A server whose drawing can be held up, and a channel to it."""
    backend = held_backend
    server = Server(settings, backend)
    await server.start()
    await server.load()
    backend.begun.clear()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield server, backend, channel
    backend.go.set()
    await server.stop(0)
