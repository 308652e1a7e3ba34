"""The client for ordinary code; `t2i.client.asynchronous` is its twin for event loops."""

from __future__ import annotations

import copy
import functools
import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from t2i.client.batches import Batches
from t2i.client.connection import Connection, Priority
from t2i.client.errors import ServiceError, from_call
from t2i.client.hedging import Call, first_answer_blocking
from t2i.client.messages import (
    Asked,
    Way,
    model_from_message,
    result_from_message,
)
from t2i.client.results import (
    GenerateEvent,
    GenerationResult,
    ImageFormat,
    InterpolationResult,
    ModelInfo,
    SweepResult,
)
from t2i.client.retries import Attempts
from t2i.client.settings import Settings, check_open
from t2i.client.streams import StreamState
from t2i.codes import sweep_codes
from t2i.conditions import Code, Condition
from t2i.protocol.v1 import (
    batch_service_pb2_grpc,
    image_service_pb2,
    image_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from t2i.seeds import random_seed
from t2i.tracing import Outgoing

__all__ = ["Client", "EventStream"]

_Request = TypeVar("_Request", bound=Message)
_Answer = TypeVar("_Answer")


class EventStream(Iterator[GenerateEvent]):
    """The events of one request, as they come.

    The request starts with the first event that is asked for. Leaving the `with` block, `close()`,
    or dropping the stream cancels what is not drawn yet.
    """

    def __init__(self, events: Generator[GenerateEvent, None, None]) -> None:
        self._events = events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> GenerateEvent:
        return next(self._events)

    def close(self) -> None:
        """Cancel the request if it is still running; closing twice is allowed."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Client:
    """Asks a t2i service for pictures.

    A client may be shared by threads. Use it in a `with` block, or close it at the end.

        >>> with Client() as client:
        ...     result = client.generate_images("small bird with red head", count=4)
        ...     result.images[0].save("bird.png")

    Args:
        address: `host:port` or `unix:/path`. Without it `T2I_ADDRESS`, else 127.0.0.1:50051.
            Several `ip:port` with commas between, or a name that stands for several machines, get
            the calls in turn.
        timeout: seconds for a request with all its attempts, unless the call says otherwise.
        max_retries: how often a request is repeated when the service cannot be reached, or is full
            and says when to come back.
        token: what the service knows its callers by. Without it `T2I_TOKEN`.
        ca: PEM file of the authority that signed the server's certificate. Without it `T2I_CA`,
            else the machine's own authorities. Any address but this machine's is encrypted.
        priority: `"interactive"`, or `"batch"` for work that may wait: the service draws it when
            no interactive request waits.
        cert: PEM file with this caller's own certificate, for a service that asks for one. Without
            it `T2I_CERT`.
        key: PEM file with its private key. Without it `T2I_KEY`.
        hedge_after: seconds after which `generate_images` asks a second time and takes whichever
            answer comes first; 0 for never. For services at several addresses.

    Raises:
        InvalidInput: one of these values cannot be used.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = 30.0,
        max_retries: int = 2,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        priority: Priority = "interactive",
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        hedge_after: float = 0.0,
    ) -> None:
        self._connection = Connection.of(address, token, ca, priority, cert, key)
        self._settings = Settings(timeout, max_retries, hedge_after)
        self._channel = self._connection.open()
        self._images = image_service_pb2_grpc.ImageServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._batches = batch_service_pb2_grpc.BatchServiceStub(self._channel)
        # Shared with the clients that `with_options` returns.
        self._closed = threading.Event()

    def with_options(
        self,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        priority: Priority | None = None,
        hedge_after: float | None = None,
    ) -> Self:
        """Return a client of the same connection that does some things otherwise.

            >>> patient = client.with_options(timeout=300, priority="batch")

        Both are closed when one is.

        Args:
            timeout: seconds for a request; None leaves it as it is.
            max_retries: repetitions of a request; None leaves them as they are.
            priority: `"interactive"` or `"batch"`; None leaves it as it is.
            hedge_after: seconds until a second call, 0 for none; None leaves it as it is.

        Raises:
            InvalidInput: a value cannot be used.
        """
        other = copy.copy(self)
        other._settings = Settings(
            timeout=self._settings.timeout if timeout is None else timeout,
            max_retries=self._settings.max_retries if max_retries is None else max_retries,
            hedge_after=self._settings.hedge_after if hedge_after is None else hedge_after,
        )
        if priority is not None:
            other._connection = replace(self._connection, priority=priority)
        return other

    @property
    def address(self) -> str:
        """Where the service is looked for."""
        return self._connection.address

    @property
    def batches(self) -> Batches:
        """Batch jobs of the service."""
        self._check_open()
        return Batches(self._connection, self._batches, self._ask)

    def close(self) -> None:
        """Cancel what is still running and close the connection; closing twice is allowed."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def generate(
        self,
        condition: Condition | str | None = None,
        *,
        count: int | None = None,
        seeds: Sequence[int] | None = None,
        model: str | None = None,
        format: ImageFormat = "png",
        quality: int | None = None,
        previews: bool = True,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        fine: Condition | str | None = None,
        fine_from: int | None = None,
        best_of: int | None = None,
        attention: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> EventStream:
        """Return the events of a request as they come: previews first, then finished pictures.

            >>> for event in client.generate("small bird with red head"):
            ...     match event:
            ...         case Preview(image) | Completed(image):
            ...             image.save(f"bird-{image.resolution}.png")

        Args:
            condition: what to draw; words are a `Text`; nothing for a model that draws by seed
                alone.
            count: number of pictures; by default the number of seeds, or 1.
            seeds: one seed for each picture, 0 to 2^63 - 1; by default the service chooses.
            model: name of the model; by default the service's default.
            format: `"png"`, `"jpeg"`, `"webp"` or `"raw"`.
            quality: 1 to 100, for JPEG and lossy WebP.
            previews: whether to send the pictures of earlier stages.
            truncation: scale of the noise, 0 to 1; less gives more alike, usually cleaner pictures.
            conditioning_truncation: the same for the noise of the conditioning.
            fine: what the later stages of the model follow; by default the condition. Only with a
                model whose `takes_fine` is true.
            fine_from: resolution of the first stage that follows `fine`, one of the model's but the
                first; by default the second.
            best_of: candidates for each picture, 1 to 16, of which the service sends the one that
                agrees best with the condition, with its own seed and its score. Only with a model
                whose `has_scorer` is true; `count` times this is at most 64.
            attention: whether finished pictures tell where they looked at each word of the caption.
                Only with a model whose `attention_words` is above 0.
            request_id: a UUID of version 4 that names the request. The service draws the seeds from
                it when there are none, so a stream that breaks off is taken up where it was.
            timeout: seconds for the whole request; by default the client's.

        Raises:
            InvalidInput: a value that no request can carry; raised at once.
            ServiceError: what the service answers; raised while iterating.
        """
        self._check_open()
        asked = Asked.of(
            condition,
            count=count,
            seeds=seeds,
            model=model,
            format=format,
            quality=quality,
            previews=previews,
            truncation=truncation,
            conditioning_truncation=conditioning_truncation,
            fine=fine,
            fine_from=fine_from,
            best_of=best_of,
            attention=attention,
            request_id=request_id,
        )
        attempts = self._settings.attempts(timeout)
        return EventStream(self._events(asked.stream_request(), attempts))

    def generate_images(
        self,
        condition: Condition | str | None = None,
        *,
        count: int | None = None,
        seeds: Sequence[int] | None = None,
        model: str | None = None,
        format: ImageFormat = "png",
        quality: int | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        fine: Condition | str | None = None,
        fine_from: int | None = None,
        best_of: int | None = None,
        attention: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> GenerationResult:
        """Return all pictures of a request; the arguments are those of `generate`.

            >>> client.generate_images("small bird with red head", seeds=[7]).images[0].pil()

        Raises:
            InvalidInput: a value that no request can carry.
            ServiceError: what the service answers, one subclass for each gRPC code.
        """
        asked = Asked.of(
            condition,
            count=count,
            seeds=seeds,
            model=model,
            format=format,
            quality=quality,
            truncation=truncation,
            conditioning_truncation=conditioning_truncation,
            fine=fine,
            fine_from=fine_from,
            best_of=best_of,
            attention=attention,
            request_id=request_id,
        )
        answer: image_service_pb2.GenerateImagesResponse = self._ask(
            self._images.GenerateImages,
            asked.images_request(),
            timeout,
            asked.request_id or None,
            hedge_after=self._settings.hedge_after,
        )
        return result_from_message(answer)

    def interpolate(
        self,
        a: Condition | str | None = None,
        b: Condition | str | None = None,
        *,
        steps: int = 8,
        seed: int | tuple[int, int] | None = None,
        model: str | None = None,
        format: ImageFormat = "png",
        quality: int | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        timeout: float | None = None,
    ) -> InterpolationResult:
        """Return the pictures on the way from one condition or seed to another.

            >>> client.interpolate("a red bird", "a blue bird", steps=9, seed=7)
            >>> client.interpolate("a red bird", steps=9, seed=(7, 8))

        More than 16 pictures are several requests. The first and the last picture are those that
        `generate_images` draws.

        Args:
            a: the first picture's condition; nothing for a model that draws by seed alone.
            b: the last picture's; by default the first's.
            steps: pictures, the first and the last included, 2 to 1024.
            seed: one seed for all pictures, or the first picture's and the last's; by default a new
                one.
            model: name of the model; by default the service's default.
            format: as in `generate`.
            quality: as in `generate`.
            truncation: as in `generate`.
            conditioning_truncation: as in `generate`.
            timeout: seconds for each request; by default the client's.

        Raises:
            InvalidInput: a value that no request can carry.
            ServiceError: what the service answers.
        """
        way = Way.of(a, b, steps, seed)
        asked = Asked.of(
            way.first,
            count=None,
            seeds=None,
            model=model,
            format=format,
            quality=quality,
            truncation=truncation,
            conditioning_truncation=conditioning_truncation,
        )
        results = []
        for part in way.parts():
            answer: image_service_pb2.GenerateImagesResponse = self._ask(
                self._images.GenerateImages, asked.along(part).images_request(), timeout
            )
            results.append(result_from_message(answer))
        return way.result(results)

    def sweep(
        self,
        part: str,
        *,
        start: Code | None = None,
        steps: int | None = None,
        seed: int | None = None,
        model: str | None = None,
        format: ImageFormat = "png",
        quality: int | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        timeout: float | None = None,
    ) -> SweepResult:
        """Return pictures of one seed that differ in one part of the model's code.

            >>> client.sweep("rotation", steps=9, seed=7)

        Each picture is a request of its own.

        Args:
            part: name of the part; of a part of several numbers one of them, such as `"pose[1]"`.
            start: the values of the other parts; by default the first categories and the middles.
            steps: pictures along a continuous part, its ends included, 2 to 1024; by default 8. A
                categorical part has one picture for each category.
            seed: of all pictures; by default a new one.
            model: name of the model; by default the service's default.
            format: as in `generate`.
            quality: as in `generate`.
            truncation: as in `generate`.
            conditioning_truncation: as in `generate`.
            timeout: seconds for each request; by default the client's.

        Raises:
            InvalidInput: the model has no such part, or a value cannot be used.
            ServiceError: what the service answers.
        """
        info = self.get_model(model, timeout=timeout)
        codes = sweep_codes(info.code, part, start=start, steps=steps)
        chosen = random_seed() if seed is None else seed
        results = [
            self.generate_images(
                code,
                seeds=[chosen],
                model=info.name,
                format=format,
                quality=quality,
                truncation=truncation,
                conditioning_truncation=conditioning_truncation,
                timeout=timeout,
            )
            for code in codes
        ]
        images = tuple(result.images[0] for result in results)
        return SweepResult(images, codes, chosen, results[0].model)

    def list_models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Return the models of the service, the default first.

        Raises:
            ServiceError: what the service answers.
        """
        answer: model_service_pb2.ListModelsResponse = self._ask(
            self._models.ListModels, model_service_pb2.ListModelsRequest(), timeout
        )
        return tuple(model_from_message(model) for model in answer.models)

    def get_model(self, name: str | None = None, *, timeout: float | None = None) -> ModelInfo:
        """Return one model, by default the service's default.

        Raises:
            NotFoundError: the service has no model of that name; the message names those it has.
            ServiceError: what else the service answers.
        """
        answer: model_service_pb2.GetModelResponse = self._ask(
            self._models.GetModel, model_service_pb2.GetModelRequest(name=name or ""), timeout
        )
        return model_from_message(answer.model)

    def _events(
        self, request: image_service_pb2.GenerateRequest, attempts: Attempts
    ) -> Generator[GenerateEvent, None, None]:
        state = StreamState(request.request_id, attempts)
        while True:
            try:
                with Outgoing(request) as traced:
                    call = self._images.Generate(
                        request,
                        timeout=attempts.remaining,
                        metadata=(*self._connection.metadata, *traced),
                    )
                    try:
                        for message in call:
                            yield from state.receive(message)
                        state.check_finished()
                        return
                    finally:
                        # Nothing to a call that is over; the end of one that nobody wants any more.
                        call.cancel()
            except grpc.RpcError as failure:
                error = self._error(failure, state.known_id)
            time.sleep(state.wait_after(error))

    def _ask(
        self,
        method: grpc.UnaryUnaryMultiCallable[_Request, _Answer],
        request: _Request,
        timeout: float | None,
        request_id: str | None = None,
        *,
        hedge_after: float = 0.0,
    ) -> _Answer:
        self._check_open()
        attempts = self._settings.attempts(timeout)
        while True:
            try:
                with Outgoing(request) as traced:
                    metadata = (*self._connection.metadata, *traced)
                    if hedge_after:
                        call = functools.partial(_call, method, request, attempts, metadata)
                        answer: _Answer = first_answer_blocking(call, hedge_after)
                        return answer
                    return method(request, timeout=attempts.remaining, metadata=metadata)
            except grpc.RpcError as failure:
                error = self._error(failure, request_id)
            time.sleep(attempts.wait_after(error))

    def _error(self, failure: grpc.RpcError, request_id: str | None) -> ServiceError:
        return from_call(failure, address=self.address, request_id=request_id)

    def _check_open(self) -> None:
        check_open(self._closed.is_set())


def _call(
    method: grpc.UnaryUnaryMultiCallable[_Request, _Answer],
    request: _Request,
    attempts: Attempts,
    metadata: tuple[tuple[str, str], ...],
) -> Call:
    return method.future(request, timeout=attempts.remaining, metadata=metadata)
