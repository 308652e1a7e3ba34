"""The client for event loops; the same names as in `t2i.client.blocking`."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from t2i.client.batches import AsyncBatches
from t2i.client.connection import Connection, Priority
from t2i.client.errors import ServiceError, from_call
from t2i.client.hedging import first_answer
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

__all__ = ["AsyncClient", "AsyncEventStream"]

_Request = TypeVar("_Request", bound=Message)
_Answer = TypeVar("_Answer")


class AsyncEventStream(AsyncIterator[GenerateEvent]):
    """The events of one request, as they come.

    The request starts with the first event that is asked for. Leaving the `async with` block or
    `close()` cancels what is not drawn yet; so does dropping the stream, as soon as the event loop
    gets to it.
    """

    def __init__(self, events: AsyncGenerator[GenerateEvent, None]) -> None:
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GenerateEvent:
        return await anext(self._events)

    async def close(self) -> None:
        """Cancel the request if it is still running; closing twice is allowed."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncClient:
    """Asks a t2i service for pictures, from an event loop.

    A client belongs to the event loop of its first call; many tasks may use it at once. Use it in
    an `async with` block, or close it at the end.

        >>> async with AsyncClient() as client:
        ...     result = await client.generate_images("small bird with red head", count=4)
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
        # Both are shared with the clients that `with_options` returns.
        self._line = _Line(self._connection)
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
    def batches(self) -> AsyncBatches:
        """Batch jobs of the service."""
        self._check_open()
        return AsyncBatches(self._connection, self._jobs, self._ask)

    async def close(self) -> None:
        """Cancel what is still running and close the connection; closing twice is allowed."""
        self._closed.set()
        await self._line.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

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
    ) -> AsyncEventStream:
        """Return the events of a request as they come: previews first, then finished pictures.

            >>> async for event in client.generate("small bird with red head"):
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
        return AsyncEventStream(self._events(asked.stream_request(), attempts))

    async def generate_images(
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

            >>> result = await client.generate_images("small bird with red head", seeds=[7])
            >>> result.images[0].pil()

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
        answer: image_service_pb2.GenerateImagesResponse = await self._ask(
            self._images().GenerateImages,
            asked.images_request(),
            timeout,
            asked.request_id or None,
            hedge_after=self._settings.hedge_after,
        )
        return result_from_message(answer)

    async def interpolate(
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

            >>> await client.interpolate("a red bird", "a blue bird", steps=9, seed=7)
            >>> await client.interpolate("a red bird", steps=9, seed=(7, 8))

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
            answer: image_service_pb2.GenerateImagesResponse = await self._ask(
                self._images().GenerateImages, asked.along(part).images_request(), timeout
            )
            results.append(result_from_message(answer))
        return way.result(results)

    async def sweep(
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

            >>> await client.sweep("rotation", steps=9, seed=7)

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
        info = await self.get_model(model, timeout=timeout)
        codes = sweep_codes(info.code, part, start=start, steps=steps)
        chosen = random_seed() if seed is None else seed
        results = [
            await self.generate_images(
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

    async def list_models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Return the models of the service, the default first.

        Raises:
            ServiceError: what the service answers.
        """
        answer: model_service_pb2.ListModelsResponse = await self._ask(
            self._models().ListModels,
            model_service_pb2.ListModelsRequest(),
            timeout,
        )
        return tuple(model_from_message(model) for model in answer.models)

    async def get_model(
        self, name: str | None = None, *, timeout: float | None = None
    ) -> ModelInfo:
        """Return one model, by default the service's default.

        Raises:
            NotFoundError: the service has no model of that name; the message names those it has.
            ServiceError: what else the service answers.
        """
        answer: model_service_pb2.GetModelResponse = await self._ask(
            self._models().GetModel,
            model_service_pb2.GetModelRequest(name=name or ""),
            timeout,
        )
        return model_from_message(answer.model)

    async def _events(
        self, request: image_service_pb2.GenerateRequest, attempts: Attempts
    ) -> AsyncGenerator[GenerateEvent, None]:
        state = StreamState(request.request_id, attempts)
        while True:
            try:
                with Outgoing(request) as traced:
                    call = self._images().Generate(
                        request,
                        timeout=attempts.remaining,
                        metadata=(*self._connection.metadata, *traced),
                    )
                    try:
                        async for message in call:
                            for event in state.receive(message):
                                yield event
                        state.check_finished()
                        return
                    finally:
                        # Nothing to a call that is over; the end of one that nobody wants any more.
                        call.cancel()
            except grpc.RpcError as failure:
                error = self._error(failure, state.known_id)
            await asyncio.sleep(state.wait_after(error))

    async def _ask(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Answer],
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
                    call = partial(_call, method, request, attempts, metadata)
                    return await (first_answer(call, hedge_after) if hedge_after else call())
            except grpc.RpcError as failure:
                error = self._error(failure, request_id)
            await asyncio.sleep(attempts.wait_after(error))

    def _error(self, failure: grpc.RpcError, request_id: str | None) -> ServiceError:
        return from_call(failure, address=self.address, request_id=request_id)

    def _images(self) -> image_service_pb2_grpc.ImageServiceAsyncStub:
        self._check_open()
        return self._line.images

    def _models(self) -> model_service_pb2_grpc.ModelServiceAsyncStub:
        self._check_open()
        return self._line.models

    def _jobs(self) -> batch_service_pb2_grpc.BatchServiceAsyncStub:
        self._check_open()
        return self._line.jobs

    def _check_open(self) -> None:
        check_open(self._closed.is_set())


class _Line:
    """A channel and the stubs on it. A channel belongs to a running event loop: the first call's.

    Args:
        connection: where to, and how.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._opened = False

    @cached_property
    def channel(self) -> grpc.aio.Channel:
        self._opened = True
        return self._connection.open_async()

    @cached_property
    def images(self) -> image_service_pb2_grpc.ImageServiceAsyncStub:
        return image_service_pb2_grpc.ImageServiceStub(self.channel)

    @cached_property
    def models(self) -> model_service_pb2_grpc.ModelServiceAsyncStub:
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    @cached_property
    def jobs(self) -> batch_service_pb2_grpc.BatchServiceAsyncStub:
        return batch_service_pb2_grpc.BatchServiceStub(self.channel)

    async def close(self) -> None:
        if self._opened:
            await self.channel.close()


def _call(
    method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Answer],
    request: _Request,
    attempts: Attempts,
    metadata: tuple[tuple[str, str], ...],
) -> Awaitable[_Answer]:
    return method(request, timeout=attempts.remaining, metadata=metadata)
