"""Which models are in memory: loaded when asked, unloaded for room, refused when damaged."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from server.app import Server
from server.backends import Backend
from server.backends.thread import ThreadBackend
from server.refusals import Refusal
from server.settings import Settings
from t2i.conditions import Label
from t2i.errors import BundleError, InvalidInput
from t2i.pipeline import Pipeline
from t2i.protocol.v1.image_service_pb2 import GenerateImagesRequest, GenerateImagesResponse
from t2i.protocol.v1.image_service_pb2_grpc import ImageServiceStub
from t2i.protocol.v1.model_service_pb2 import ListModelsRequest
from t2i.protocol.v1.model_service_pb2_grpc import ModelServiceStub
from tests.server.digits import ONE, flip_a_bit, save_digits

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def serving(
    *models: Path, backend: Backend | None = None, **options: Any
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    settings = Settings(models=tuple(map(str, models)), port=0, device="cpu", **options)
    server = Server(settings, backend)
    await server.start()
    try:
        await server.load()
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield server, channel
    finally:
        await server.stop(0)


async def draw(
    channel: grpc.aio.Channel, model: str = "", **options: Any
) -> GenerateImagesResponse:
    request = GenerateImagesRequest(condition=ONE, model=model, seeds=[7])
    return await ImageServiceStub(channel).GenerateImages(request, **options)


async def refused(channel: grpc.aio.Channel, model: str) -> tuple[grpc.StatusCode, str, float, str]:
    """Return code, reason, seconds to wait, and text of the refusal that a request must get."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await draw(channel, model)
    status = rpc_status.from_call(error.value)  # type: ignore[arg-type]
    assert status is not None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info) and status.details[1].Unpack(retry)
    seconds = retry.retry_delay.ToNanoseconds() / 1e9
    return error.value.code(), info.reason, seconds, status.message


async def health(channel: grpc.aio.Channel, model: str = "") -> int:
    service = f"t2i.v1.ImageService/{model}" if model else ""
    request = health_pb2.HealthCheckRequest(service=service)
    return int((await health_pb2_grpc.HealthStub(channel).Check(request)).status)


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not claim():
            await asyncio.sleep(0.01)


def loaded(server: Server) -> set[str]:
    return {name for name, there in server._store.loaded.items() if there}


def picture(folder: Path) -> bytes:
    drawn = Pipeline.from_pretrained(folder, device="cpu").generate(Label(id=1), seeds=[7])
    return drawn.images[0].encode("png")


async def test_a_lazy_model_is_described_at_once_and_loaded_once_for_all_who_come_first(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    save_digits(one, "one")
    checksum = save_digits(two, "two", version=2).checksum
    async with serving(one, two, lazy=True) as (server, channel):
        assert loaded(server) == set()
        models = (await ModelServiceStub(channel).ListModels(ListModelsRequest())).models
        assert [model.name for model in models] == ["one", "two"]
        assert models[1].checksum == checksum
        assert models[1].parameters == Pipeline.from_pretrained(two, device="cpu").info.parameters
        assert await health(channel) == await health(channel, "two") == SERVING
        answers = await asyncio.gather(*(draw(channel, "two") for _ in range(4)))
        assert {answer.images[0].data for answer in answers} == {picture(two)}
        assert loaded(server) == {"two"}
        assert server._store.changes.loaded == 1


async def test_one_flipped_bit_is_refused_at_the_start_whether_or_not_the_model_is_lazy(
    tmp_path: Path,
) -> None:
    save_digits(tmp_path / "digits")
    flip_a_bit(tmp_path / "digits")
    for lazy in (False, True):
        with pytest.raises(BundleError, match=r"generator\.safetensors is damaged"):
            async with serving(tmp_path / "digits", lazy=lazy):
                pass


async def test_one_flipped_bit_is_refused_at_the_first_request_which_is_told_when_to_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    save_digits(good, "good")
    save_digits(bad, "bad", version=2)
    async with serving(good, bad, lazy=True) as (server, channel):
        seen: list[int] = []

        async def watch() -> None:
            request = health_pb2.HealthCheckRequest(service="t2i.v1.ImageService/bad")
            async for answer in health_pb2_grpc.HealthStub(channel).Watch(request):
                seen.append(answer.status)

        watching = asyncio.create_task(watch())
        await until(lambda: seen == [SERVING])
        flip_a_bit(bad)
        with caplog.at_level(logging.ERROR, "t2i.server"):
            together = [server._store.ready("bad") for _ in range(3)]
            for outcome in await asyncio.gather(*together, return_exceptions=True):
                assert isinstance(outcome, Refusal)
            code, reason, seconds, text = await refused(channel, "bad")
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")
        assert 0 < seconds <= 1.0
        assert str(tmp_path) not in text and "safetensors" not in text
        assert "generator.safetensors is damaged" in caplog.text
        # Until then nothing is tried again.
        assert (await refused(channel, "bad"))[2] <= 1.0
        assert server._store.changes.failed == 1
        await until(lambda: seen == [SERVING, NOT_SERVING])
        assert await health(channel) == await health(channel, "good") == SERVING
        assert (await draw(channel, "good")).model.name == "good"
        flip_a_bit(bad)
        await asyncio.sleep(seconds)
        assert (await draw(channel, "bad")).images[0].data == picture(bad)
        await until(lambda: seen == [SERVING, NOT_SERVING, SERVING])
        watching.cancel()


async def test_a_request_waits_for_its_model_no_longer_than_its_deadline(tmp_path: Path) -> None:
    save_digits(tmp_path / "digits")
    backend = ThreadBackend(workers=1, device="cpu")
    load, go = backend.load, asyncio.Event()

    async def slow(models: Any) -> Any:
        await go.wait()
        return await load(models)

    backend.load = slow  # type: ignore[method-assign]
    async with serving(tmp_path / "digits", backend=backend, lazy=True) as (server, channel):
        patient = asyncio.create_task(draw(channel))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await draw(channel, timeout=0.2)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        go.set()
        assert (await patient).model.name == "digits"
        assert server._store.changes.loaded == 1


async def test_the_model_used_least_recently_makes_room_within_the_budget(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    sizes = {save_digits(tmp_path / name, name).weight_bytes for name in names}
    budget = sum(sizes) * 5 // 2
    folders = [tmp_path / name for name in names]
    async with serving(*folders, memory_budget=budget) as (server, channel):
        # As many as fit, in order; the others when they are asked for.
        assert loaded(server) == {"a", "b"}
        for asked, expected in (("a", "ab"), ("c", "ac"), ("b", "bc"), ("b", "bc"), ("a", "ab")):
            assert (await draw(channel, asked)).model.name == asked
            assert loaded(server) == set(expected)
            assert 0 < server._store.memory_bytes <= budget
        held = server._backend._pipelines.values()  # type: ignore[attr-defined]
        assert {pipeline.info.name for pipeline in held} == {"a", "b"}


async def test_a_model_at_work_is_not_unloaded_and_who_needs_its_room_waits(
    tmp_path: Path, held_backend: Any
) -> None:
    size = save_digits(tmp_path / "a", "a").weight_bytes
    save_digits(tmp_path / "b", "b")
    backend = held_backend
    async with serving(
        tmp_path / "a", tmp_path / "b", backend=backend, memory_budget=size + size // 2
    ) as (server, channel):
        backend.begun.clear()
        backend.go.clear()
        at_work = asyncio.create_task(draw(channel, "a"))
        await until(lambda: backend.begun == [1])
        waits = asyncio.create_task(draw(channel, "b"))
        await asyncio.sleep(0.3)
        assert loaded(server) == {"a"} and not waits.done()
        backend.go.set()
        assert (await at_work).model.name == "a"
        assert (await waits).model.name == "b"
        assert loaded(server) == {"b"}


async def test_a_bundle_that_alone_exceeds_the_budget_is_refused_in_words(tmp_path: Path) -> None:
    save_digits(tmp_path / "small", "small")
    size = save_digits(tmp_path / "large", "large", width=32, max_channels=64).weight_bytes
    with pytest.raises(
        InvalidInput, match=r"large alone takes 2\.4 MiB, of 1\.9 MiB; give 3 or more"
    ):
        async with serving(
            tmp_path / "small", tmp_path / "large", lazy=True, memory_budget=size - 500_000
        ):
            pass


async def test_an_unloaded_model_leaves_nothing_in_memory(tmp_path: Path) -> None:
    save_digits(tmp_path / "a", "a")
    async with serving(tmp_path / "a") as (server, channel):
        await draw(channel)
        (pipeline,) = server._backend._pipelines.values()  # type: ignore[attr-defined]
        gone = weakref.ref(pipeline._generator)
        del pipeline
        await server._store.unload("a")
        assert loaded(server) == set() and server._store.memory_bytes == 0
        gc.collect()
        assert gone() is None
        # The next request has it again.
        assert (await draw(channel)).images[0].data == picture(tmp_path / "a")


async def test_bundles_that_read_captions_alike_share_the_text_model(bundle: Path) -> None:
    one = Pipeline.from_pretrained(bundle, device="cpu", share_encoder=True)
    two = Pipeline.from_pretrained(bundle, device="cpu", share_encoder=True)
    own = Pipeline.from_pretrained(bundle, device="cpu")
    assert one._encoders.text is two._encoders.text
    assert own._encoders.text is not one._encoders.text
