"""The services over a real socket, drawing with a real pipeline."""

from __future__ import annotations

import asyncio
import io
import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from PIL import Image

from server.app import Server
from server.backends import Drawn
from server.engine import Part
from server.service import _Choice, _Tally
from server.settings import Settings
from t2i.conditions import Text
from t2i.pipeline import Draw, Pipeline
from t2i.protocol.v1 import batch_service_pb2, batch_service_pb2_grpc
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1.image_service_pb2 import (
    GenerateEvent,
    GenerateImagesRequest,
    GenerateImagesResponse,
    GenerateRequest,
)
from t2i.protocol.v1.image_service_pb2_grpc import ImageServiceStub
from t2i.protocol.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
from t2i.protocol.v1.model_service_pb2_grpc import ModelServiceStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

RAW = pb.GenerateOptions(format=pb.IMAGE_FORMAT_RAW)
RED = "small bird with red head"


def text(words: str) -> pb.Condition:
    return pb.Condition(text=pb.TextCondition(text=words))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(settings: Settings) -> AsyncIterator[Server]:
    server = Server(settings)
    await server.start()
    await server.load()
    yield server
    await server.stop(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


def details(error: grpc.aio.AioRpcError) -> dict[str, object]:
    """The details of an error by the name of their type."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    found: dict[str, object] = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])
        found[kind.__name__] = detail = kind()
        packed.Unpack(detail)
    return found


def drawn(pipeline: Pipeline, words: str, seed: int, truncation: float = 1.0) -> list[bytes]:
    """What this process draws alone: the bytes of each stage."""
    embedding = pipeline.encode([Text(words)])[0]
    (pictures,) = pipeline.draw([Draw(embedding, seed, truncation, 1.0)])
    return [picture.tobytes() for picture in pictures]


async def events(channel: grpc.aio.Channel, request: GenerateRequest) -> list[GenerateEvent]:
    return [event async for event in ImageServiceStub(channel).Generate(request)]


async def test_generate_sends_accepted_then_previews_and_picture_then_finished(
    channel: grpc.aio.Channel, pipeline: Pipeline
) -> None:
    request_id = str(uuid.uuid4())
    request = GenerateRequest(request_id=request_id, condition=text(RED), seeds=[7, 8], options=RAW)
    received = await events(channel, request)
    kinds = [event.WhichOneof("event") for event in received]
    assert kinds == ["accepted", *["preview", "preview", "completed"] * 2, "finished"]
    accepted, finished = received[0].accepted, received[-1].finished
    assert accepted.request_id == finished.request_id == request_id
    assert list(accepted.seeds) == [7, 8]
    assert list(accepted.resolutions) == [8, 16, 32]
    assert accepted.model.checksum == pipeline.info.checksum
    assert finished.count == 2
    assert finished.timings.total_ms >= finished.timings.generate_ms > 0
    images = [(event.preview if event.HasField("preview") else event.completed).image
              for event in received[1:-1]]  # fmt: skip
    # Whichever picture is done first: the workers share a request.
    for index, seed in enumerate([7, 8]):
        stages = [image for image in images if image.index == index]
        assert [(i.stage, i.width, i.height) for i in stages] == [
            (0, 8, 8),
            (1, 16, 16),
            (2, 32, 32),
        ]
        assert [i.data for i in stages] == drawn(pipeline, RED, seed)
        assert [i.seed for i in stages] == [seed] * 3


async def test_previews_can_be_left_out(channel: grpc.aio.Channel) -> None:
    received = await events(channel, GenerateRequest(condition=text(RED), previews=False))
    kinds = [event.WhichOneof("event") for event in received]
    assert kinds == ["accepted", "completed", "finished"]


async def test_mixed_requests_at_once_get_the_bytes_that_each_would_get_alone(
    channel: grpc.aio.Channel, pipeline: Pipeline
) -> None:
    stub, chance = ImageServiceStub(channel), random.Random(0)
    captions = [RED, "a blue bird with a long beak", "a black bird on the ground", "an owl"]
    requests = [
        GenerateImagesRequest(
            condition=text(chance.choice(captions)),
            seeds=[chance.randrange(2**63) for _ in range(chance.choice([1, 1, 2, 3, 8, 16]))],
            options=pb.GenerateOptions(
                format=pb.IMAGE_FORMAT_RAW, truncation=chance.choice([1.0, 0.7])
            ),
        )
        for _ in range(24)
    ]
    answers: list[GenerateImagesResponse] = await asyncio.gather(
        *(stub.GenerateImages(request) for request in requests)
    )
    for request, answer in zip(requests, answers, strict=True):
        assert [image.index for image in answer.images] == list(range(len(request.seeds)))
        for seed, image in zip(request.seeds, answer.images, strict=True):
            alone = drawn(pipeline, request.condition.text.text, seed, request.options.truncation)
            assert image.data == alone[-1]


async def test_the_same_request_id_without_seeds_gives_the_same_pictures(
    channel: grpc.aio.Channel,
) -> None:
    stub = ImageServiceStub(channel)

    async def ask(request_id: str) -> list[bytes]:
        request = GenerateImagesRequest(
            request_id=request_id, condition=text(RED), count=2, options=RAW
        )
        return [image.data for image in (await stub.GenerateImages(request)).images]

    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    assert await ask(one) == await ask(one) != await ask(other)


@pytest.mark.parametrize(
    ("image_format", "quality", "name", "lossless"),
    [
        (pb.IMAGE_FORMAT_UNSPECIFIED, None, "PNG", True),
        (pb.IMAGE_FORMAT_PNG, None, "PNG", True),
        (pb.IMAGE_FORMAT_WEBP, None, "WEBP", True),
        (pb.IMAGE_FORMAT_WEBP, 90, "WEBP", False),
        (pb.IMAGE_FORMAT_JPEG, None, "JPEG", False),
        (pb.IMAGE_FORMAT_JPEG, 95, "JPEG", False),
    ],
)
async def test_pictures_come_in_the_format_asked_for(
    channel: grpc.aio.Channel,
    pipeline: Pipeline,
    image_format: pb.ImageFormat.ValueType,
    quality: int | None,
    name: str,
    lossless: bool,
) -> None:
    options = pb.GenerateOptions(format=image_format, quality=quality)
    request = GenerateImagesRequest(condition=text(RED), seeds=[7], options=options)
    (image,) = (await ImageServiceStub(channel).GenerateImages(request)).images
    opened = Image.open(io.BytesIO(image.data))
    assert opened.format == name == pb.ImageFormat.Name(image.format).rpartition("_")[2]
    pixels = np.asarray(opened.convert("RGB"))
    wanted = np.frombuffer(drawn(pipeline, RED, 7)[-1], np.uint8).reshape(32, 32, 3)
    if lossless:
        np.testing.assert_array_equal(pixels, wanted)
    else:
        assert pixels.shape == wanted.shape
        assert np.abs(pixels.astype(int) - wanted).mean() < 24


async def test_models_are_listed_and_found_by_name_or_as_the_default(
    channel: grpc.aio.Channel, bundle: Path, pipeline: Pipeline
) -> None:
    stub = ModelServiceStub(channel)
    (model,) = (await stub.ListModels(ListModelsRequest())).models
    assert (model.name, model.version, model.is_default) == (bundle.name, "3", True)
    assert model.checksum == pipeline.info.checksum
    assert list(model.condition_kinds) == [pb.CONDITION_KIND_TEXT]
    assert list(model.resolutions) == [8, 16, 32]
    assert model.embedding_size == 384
    assert model.parameters > 10_000
    assert (await stub.GetModel(GetModelRequest())).model == model
    assert (await stub.GetModel(GetModelRequest(name=model.name))).model == model


async def test_an_unknown_model_is_not_found(channel: grpc.aio.Channel, bundle: Path) -> None:
    for call in (
        ModelServiceStub(channel).GetModel(GetModelRequest(name="x")),
        ImageServiceStub(channel).GenerateImages(
            GenerateImagesRequest(model="x", condition=text(RED))
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        assert bundle.name in (error.value.details() or "")


async def test_a_wrong_field_is_answered_with_its_name_reason_and_request_id(
    channel: grpc.aio.Channel,
) -> None:
    request = GenerateRequest(request_id=str(uuid.uuid4()), condition=text(" "), count=17)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await events(channel, request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    found = details(error.value)
    bad, info, named = (found[n] for n in ("BadRequest", "ErrorInfo", "RequestInfo"))
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert {v.field for v in bad.field_violations} == {"count", "condition.text"}
    assert all(v.description for v in bad.field_violations)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("INVALID_FIELD", "t2i")
    assert isinstance(named, error_details_pb2.RequestInfo)
    assert named.request_id == request.request_id


@pytest.mark.parametrize(
    "method",
    [
        "/t2i.v1.ImageService/Generate",
        "/t2i.v1.ImageService/GenerateImages",
        "/t2i.v1.ModelService/GetModel",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x80", b"\x0a\x02\xff\xfe"])
async def test_malformed_bytes_are_an_invalid_argument_that_names_no_class(
    channel: grpc.aio.Channel, method: str, data: bytes
) -> None:
    async def sent() -> AsyncIterator[bytes]:
        yield data

    with pytest.raises(grpc.aio.AioRpcError) as error:
        async for _ in channel.stream_stream(method)(sent()):
            pass
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    told = (error.value.details() or "") + str(rpc_status.from_call(error.value))  # type: ignore[arg-type]
    assert not any(name in told for name in ("DecodeError", "Exception", "google.protobuf"))


async def test_a_message_over_the_limit_is_refused_with_the_limit(
    channel: grpc.aio.Channel,
) -> None:
    request = GenerateRequest(condition=text("x" * 70_000))
    with pytest.raises(grpc.aio.AioRpcError, match="at most 65536") as error:
        await events(channel, request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    huge = GenerateRequest(condition=text("x" * 2_000_000))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await events(channel, huge)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_health_is_serving_and_reflection_lists_what_is_mounted(server: Server) -> None:
    def look() -> tuple[list[int], set[str]]:
        with grpc.insecure_channel(server.address) as blocking:
            health = health_pb2_grpc.HealthStub(blocking)
            names = ("", "t2i.v1.ImageService", "t2i.v1.ModelService")
            found = [health.Check(health_pb2.HealthCheckRequest(service=n)).status for n in names]
            database = ProtoReflectionDescriptorDatabase(blocking)
            file = database.FindFileContainingSymbol("t2i.v1.ImageService")
            assert file.name == "t2i/v1/image_service.proto"
            return found, set(database.get_services())

    found, services = await asyncio.to_thread(look)
    assert found == [health_pb2.HealthCheckResponse.SERVING] * 3
    assert {"t2i.v1.ImageService", "t2i.v1.ModelService"} < services
    assert "t2i.v1.BatchService" not in services


async def test_jobs_are_not_served_and_say_so(channel: grpc.aio.Channel) -> None:
    stub = batch_service_pb2_grpc.BatchServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.ListBatchJobs(batch_service_pb2.ListBatchJobsRequest())
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_the_best_candidate_is_decided_when_the_last_of_them_is_there() -> None:
    def part(start: int, *scores: float) -> Part:
        drawn = tuple(Drawn((), score=score) for score in scores)
        return Part(start, drawn, 0.0, 0.0, 0.0)

    choice = _Choice(3)
    # The second picture's candidates overtake the rest of the first's.
    assert choice.add(part(0, 0.1, 0.5)) == []
    assert [one.item for one in choice.add(part(3, -0.3, -0.1, -0.1))] == [4]
    assert [one.item for one in choice.add(part(2, 0.2))] == [1]
    assert [one.item for one in _Choice(1).add(part(7, 0.0, 0.0))] == [7, 8]


async def test_what_workers_did_side_by_side_counts_once() -> None:
    tally = _Tally()
    # The one that is delivered first need not have begun first.
    tally.add(Part(1, (), 0.030, 0.010, 0.040, pack_seconds=0.003))
    tally.add(Part(0, (), 0.020, 0.010, 0.040, pack_seconds=0.003))
    tally.add(Part(2, (), 0.080, 0.0, 0.020, pack_seconds=0.004))
    timings = tally.timings()
    assert timings.queue_ms == pytest.approx(20)
    assert timings.encode_ms == pytest.approx(20)
    assert timings.generate_ms == pytest.approx(50 + 20)
    assert timings.pack_ms == pytest.approx(3 + 3 + 4)
