"""A small service of the real protocol on a real socket, whose misbehaviour the tests can choose.

The whole SDK is also driven against the real server, in tests/e2e; here are the cases that a
healthy server does not offer.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from PIL import Image

from t2i.protocol.v1 import (
    conditions_pb2,
    image_service_pb2,
    image_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

VERSION = conditions_pb2.ModelVersion(name="squares", version="1", checksum="ab" * 32)
RESOLUTIONS = (4, 8)


@dataclass
class Refusal:
    """Answers with a status instead of pictures, after the given number of events."""

    code: grpc.StatusCode
    message: str = "refused"
    details: tuple[Message, ...] = ()
    after_events: int = 0


@dataclass
class Hang:
    """Sends the given number of events and then nothing, until the call ends."""

    after_events: int = 0


@dataclass
class Service(
    image_service_pb2_grpc.ImageServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """Draws squares of one colour, unless a test gave it `faults` for its first calls."""

    address: str = ""
    faults: list[Refusal | Hang] = field(default_factory=list)
    requests: list[Message] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    # Set when a call that hangs is given up by its caller.
    let_go: threading.Event = field(default_factory=threading.Event)
    truncated: bool = False
    # Whether it knows `group_events`, as older services do not.
    groups: bool = False
    first_free_seeds: list[int] = field(default_factory=lambda: [0])

    def Generate(
        self, request: image_service_pb2.GenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[image_service_pb2.GenerateEvent]:
        fault = self._note(request, context)
        for number, event in enumerate(self._events(request)):
            if fault is not None and number == fault.after_events:
                self._fail(fault, context)
            yield event

    def GenerateImages(
        self, request: image_service_pb2.GenerateImagesRequest, context: grpc.ServicerContext
    ) -> image_service_pb2.GenerateImagesResponse:
        fault = self._note(request, context)
        if fault is not None:
            self._fail(fault, context)
        return image_service_pb2.GenerateImagesResponse(
            request_id=request.request_id or "chosen-by-server",
            model=VERSION,
            images=[
                square(index, seed, 1, request.options.format)
                for index, seed in enumerate(self._seeds(request))
            ],
            warnings=[conditions_pb2.Warning(reason="FAR", message="far from the captions")],
        )

    def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.ListModelsResponse:
        fault = self._note(request, context)
        if fault is not None:
            self._fail(fault, context)
        return model_service_pb2.ListModelsResponse(models=[self._model()])

    def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.GetModelResponse:
        self._note(request, context)
        if request.name not in ("", "squares"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}; there is: squares")
        return model_service_pb2.GetModelResponse(model=self._model())

    def _note(self, request: Message, context: grpc.ServicerContext) -> Refusal | Hang | None:
        self.requests.append(request)
        metadata = dict(context.invocation_metadata())
        self.tokens.append(metadata.get("authorization"))
        # Called when the call is over for whatever reason; only a hanging call waits for it.
        if not context.add_callback(self.ended.set):
            self.ended.set()
        return self.faults.pop(0) if self.faults else None

    def _fail(self, fault: Refusal | Hang, context: grpc.ServicerContext) -> NoReturn:
        if isinstance(fault, Hang):
            over = threading.Event()
            if not context.add_callback(over.set) or over.wait(10):
                self.let_go.set()
            context.abort(grpc.StatusCode.CANCELLED, "gone")
        packed = []
        for detail in fault.details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=fault.code.value[0], message=fault.message, details=packed)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort_with_status raises")

    def _seeds(
        self,
        request: image_service_pb2.GenerateRequest | image_service_pb2.GenerateImagesRequest,
    ) -> list[int]:
        if request.seeds:
            return list(request.seeds)
        count = request.count if request.HasField("count") else 1
        free = self.first_free_seeds
        first = free.pop(0) if len(free) > 1 else free[0]
        return list(range(first, first + count))

    def _events(
        self, request: image_service_pb2.GenerateRequest
    ) -> Iterator[image_service_pb2.GenerateEvent]:
        pb = image_service_pb2
        request_id = request.request_id or "chosen-by-server"
        seeds = self._seeds(request)
        yield pb.GenerateEvent(
            accepted=pb.GenerateAccepted(
                request_id=request_id, model=VERSION, seeds=seeds, resolutions=RESOLUTIONS
            )
        )
        finished = pb.GenerateFinished(
            request_id=request_id,
            count=len(seeds),
            timings=conditions_pb2.Timings(total_ms=12.5),
        )
        grouped = self.groups and request.group_events
        for index, seed in enumerate(seeds):
            previews = []
            if request.previews or not request.HasField("previews"):
                previews.append(square(index, seed, 0, request.options.format))
            done = pb.GenerateCompleted(image=square(index, seed, 1, request.options.format))
            if grouped:
                done.previews.extend(previews)
                if index == len(seeds) - 1 and not self.truncated:
                    done.finished.CopyFrom(finished)
            else:
                for preview in previews:
                    yield pb.GenerateEvent(preview=pb.GeneratePreview(image=preview))
            yield pb.GenerateEvent(completed=done)
        if not grouped and not self.truncated:
            yield pb.GenerateEvent(finished=finished)

    @staticmethod
    def _model() -> model_service_pb2.Model:
        return model_service_pb2.Model(
            name="squares",
            version="1",
            checksum="ab" * 32,
            condition_kinds=[
                conditions_pb2.CONDITION_KIND_TEXT,
                conditions_pb2.CONDITION_KIND_SCENE_GRAPH,
            ],
            resolutions=RESOLUTIONS,
            encoder="none",
            embedding_size=3,
            labels=["red", "blue"],
            parameters=7,
            is_default=True,
        )


def colour(seed: int) -> tuple[int, int, int]:
    """Return the colour of the square that the service draws for a seed."""
    red, green, blue = hashlib.sha256(str(seed).encode()).digest()[:3]
    return red, green, blue


def square(
    index: int, seed: int, stage: int, format: conditions_pb2.ImageFormat
) -> conditions_pb2.GeneratedImage:
    """Return the picture of a stage for a seed."""
    side = RESOLUTIONS[stage]
    picture = Image.new("RGB", (side, side), colour(seed))
    if format == conditions_pb2.IMAGE_FORMAT_RAW:
        data = picture.tobytes()
    else:
        packed = io.BytesIO()
        names = {2: "JPEG", 3: "WEBP"}
        picture.save(packed, names.get(int(format), "PNG"))
        data = packed.getvalue()
    return conditions_pb2.GeneratedImage(
        index=index,
        seed=seed,
        stage=stage,
        width=side,
        height=side,
        format=format or conditions_pb2.IMAGE_FORMAT_PNG,
        data=data,
    )


def retry_in(seconds: float) -> error_details_pb2.RetryInfo:
    """Return the detail by which a service asks to come back later."""
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)


class serving:  # noqa: N801 - used as a `with` word
    """Serves a service on a free port of this machine while its block runs."""

    def __init__(self, service: Service, bind: Callable[[grpc.Server], int] | None = None) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8))
        image_service_pb2_grpc.add_ImageServiceServicer_to_server(service, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, self._server)
        bind = bind or (lambda server: server.add_insecure_port("127.0.0.1:0"))
        self._port = bind(self._server)

    def __enter__(self) -> str:
        self._server.start()
        return f"127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait(5)
