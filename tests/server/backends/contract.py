"""What every pool of workers promises, whatever a worker is."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.app import Server
from server.backends import Batch, Drawn, Item, Packing, WorkerLost, model_key
from server.backends.pool import PoolBackend
from server.settings import Settings
from t2i.client import AsyncClient
from t2i.conditions import Label, Text
from t2i.errors import BundleError, T2IError
from t2i.pipeline import Pipeline

SERVING = health_pb2.HealthCheckResponse.SERVING


async def until(claim: Callable[[], bool], seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not claim():
            await asyncio.sleep(0.005)


async def drawn(backend: PoolBackend[object], name: str, items: list[Item]) -> Batch:
    return await backend.run(name, items, lambda: [True] * len(items))


async def two_workers_draw_as_the_pipeline_and_one_that_dies_is_replaced(
    backend: PoolBackend[object], bundle: Path, pipeline: Pipeline
) -> list[int]:
    """Return the processes of the two that were there at the beginning."""
    told: list[bool] = []
    backend.watch(told.append)
    info = (await backend.load([str(bundle)]))[0].info
    assert info == pipeline.info
    assert (backend.workers, backend.copies, backend.best_batch) == (2, 2, 8)
    key = model_key(info)
    items = [Item(Text("a red bird"), seed) for seed in range(4)]
    wanted = [True, True, False, True]
    asked: list[list[bool]] = []

    def begin() -> list[bool]:
        asked.append(wanted)
        return wanted

    refused = Item(Label("red"), 1)
    found, other = await asyncio.gather(
        backend.run(key, items, begin), drawn(backend, key, [refused])
    )
    assert asked == [wanted], "whose turn it is, is asked once"
    expected = pipeline.generate("a red bird", seeds=range(4), stages="all")
    for number, outcome in enumerate(found.outcomes):
        if not wanted[number]:
            assert outcome is None
            continue
        assert isinstance(outcome, Drawn)
        picture = expected.images[number].array
        assert np.array_equal(outcome.pictures[-1], picture)
    assert isinstance(other.outcomes[0], T2IError)
    packed = await drawn(backend, key, [Item(Text("a red bird"), 0, packing=Packing("raw"))])
    assert isinstance(packed.outcomes[0], Drawn) and packed.pack_seconds > 0
    assert packed.outcomes[0].packed[0].data == expected.images[0].array.tobytes()
    nothing = await backend.run(key, items, lambda: [False] * 4)
    assert list(nothing.outcomes) == [None] * 4 and nothing.generate_seconds == 0

    first, second = backend.pids
    # A fault in a worker is told with its place, and the worker goes on.
    with pytest.raises(RuntimeError, match=r"(?s)Traceback .*worker\.py.*KeyError"):
        await drawn(backend, "no such model", items)
    assert backend.pids == [first, second]
    # Held still, so that it has a batch for certain when it dies.
    os.kill(first, signal.SIGSTOP)
    held = [asyncio.create_task(drawn(backend, key, items)) for _ in range(2)]
    await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)
    os.kill(first, signal.SIGKILL)
    results = await asyncio.gather(*held, return_exceptions=True)
    assert sorted(type(result) for result in results if not isinstance(result, Batch)) == [
        WorkerLost
    ]
    # The other one goes on at once.
    assert len((await drawn(backend, key, items)).outcomes) == 4
    await until(lambda: len(backend.pids) == 2)
    assert second in backend.pids and first not in backend.pids
    assert False not in told
    return [first, second]


async def a_server_whose_only_worker_dies_says_so_and_is_back(
    backend: PoolBackend[object], bundle: Path, *, within: float = 1.0
) -> None:
    server = Server(Settings(models=(str(bundle),), port=0, device="cpu"), backend)
    await server.start()
    await server.load()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            async def health() -> int:
                return int((await stub.Check(health_pb2.HealthCheckRequest())).status)

            assert await health() == SERVING
            (pid,) = backend.pids
            # Held still, so that it has the request for certain when it dies.
            os.kill(pid, signal.SIGSTOP)
            client = AsyncClient(server.address)
            asked = asyncio.create_task(client.generate_images("a red bird", seeds=[1]))
            await until(lambda: backend.busy == 1)
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            while await health() == SERVING:
                await asyncio.sleep(0.01)
            assert time.monotonic() - began < within
            # The client asks again by itself, and is answered once the worker is back.
            async with client:
                assert len((await asked).images) == 1
            assert await health() == SERVING
    finally:
        await server.stop(0)


async def a_bundle_that_cannot_be_loaded_leaves_the_workers_and_no_model_behind(
    backend: PoolBackend[object], tmp_path: Path, bundle: Path
) -> None:
    with pytest.raises(BundleError):
        await backend.load([str(tmp_path)])
    pids = backend.pids
    assert len(pids) == backend.workers
    info = (await backend.load([str(bundle)]))[0].info
    assert len((await drawn(backend, model_key(info), [Item(Text("a bird"), 1)])).outcomes) == 1
    await backend.close()
    assert backend.pids == []
    await until(lambda: not any(map(alive, pids)))


def alive(pid: int) -> bool:
    """Tell whether a process is there, and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
