"""The services of the protocol: requests in, events and pictures out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import grpc

from server.backends import Drawn, WorkerLost, model_key
from server.backends.drawing import pack
from server.callers import priority_of
from server.engine import (
    BackendFailed,
    DeadlineOutOfReach,
    DeadlinePassed,
    DeadlineTooShort,
    Engine,
    Part,
    QueueFull,
    Ticket,
)
from server.events import completed, to_send
from server.guard import CALLER, REQUEST_ID, SPAN
from server.models import Models, describe, version
from server.refusals import (
    Refusal,
    deadline_out_of_reach,
    deadline_passed,
    deadline_too_short,
    invalid,
    over_quota,
    queue_full,
    worker_lost,
)
from server.replays import Replays
from server.requests import Ask, read_request, violation
from server.tokens import OverQuota, Tokens
from t2i.errors import InvalidInput
from t2i.protocol.v1 import (
    conditions_pb2,
    image_service_pb2,
    image_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

if TYPE_CHECKING:
    from t2i.attention import WordMap
    from t2i.pipeline import GenerationWarning

__all__ = ["ImageService", "ModelService"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# Beginning and end, in seconds from the request's arrival.
_Span: TypeAlias = tuple[float, float]


class ImageService(image_service_pb2_grpc.ImageServiceServicer):
    """Draws pictures.

    Args:
        engine: runs the requests.
        models: returns the models with the one of this name in memory, or refuses.
        packers: threads for what workers leave to do: packing candidates that were chosen, and
            telling of attention.
        replays: the answers to requests that may be asked again.
        tokens: what callers may have; None where nobody needs a token.
        answered: told of every answered request: model, pictures, where the time went.
    """

    def __init__(
        self,
        engine: Engine,
        models: Callable[[str], Awaitable[Models]],
        packers: ThreadPoolExecutor,
        replays: Replays,
        *,
        tokens: Tokens | None = None,
        answered: Callable[[str, int, conditions_pb2.Timings], None] | None = None,
    ) -> None:
        self._engine = engine
        self._models = models
        self._packers = packers
        self._replays = replays
        self._tokens = tokens
        self._answered = answered

    async def Generate(
        self, request: image_service_pb2.GenerateRequest, context: _Context
    ) -> AsyncIterator[image_service_pb2.GenerateEvent]:
        """Draw pictures and send each as soon as it is there."""
        owner = CALLER.get().owner
        async for event in self._replays.events(
            request, owner, lambda: self._events(request, context)
        ):
            for message in to_send(event, grouped=request.group_events):
                yield message

    async def GenerateImages(
        self, request: image_service_pb2.GenerateImagesRequest, context: _Context
    ) -> image_service_pb2.GenerateImagesResponse:
        """Draw pictures and send all of them in one answer."""
        owner = CALLER.get().owner
        return await self._replays.answer(request, owner, lambda: self._answer(request, context))

    async def _events(
        self, request: image_service_pb2.GenerateRequest, context: _Context
    ) -> AsyncIterator[image_service_pb2.GenerateEvent]:
        tally, request_id = _Tally(), REQUEST_ID.get()
        ask = read_request(request, request_id, await self._models(request.model))
        ticket = self._submit(ask, request.ByteSize(), context)
        accepted = image_service_pb2.GenerateAccepted(
            request_id=request_id,
            model=version(ask.model),
            seeds=ask.seeds,
            resolutions=ask.model.resolutions,
        )
        yield image_service_pb2.GenerateEvent(accepted=accepted)
        choice, left = _Choice(ask.best_of), len(ask.seeds)
        async for part in _parts(ticket):
            tally.add(part)
            for chosen in choice.add(part):
                stages = await self._images(tally, ask, [chosen])
                left -= 1
                finished = None if left else self._finished(request_id, ask, tally)
                yield completed(stages, finished)

    async def _answer(
        self, request: image_service_pb2.GenerateImagesRequest, context: _Context
    ) -> image_service_pb2.GenerateImagesResponse:
        tally, request_id = _Tally(), REQUEST_ID.get()
        ask = read_request(request, request_id, await self._models(request.model))
        ticket = self._submit(ask, request.ByteSize(), context)
        images: list[conditions_pb2.GeneratedImage] = []
        choice = _Choice(ask.best_of)
        async for part in _parts(ticket):
            tally.add(part)
            images += await self._images(tally, ask, choice.add(part))
        return image_service_pb2.GenerateImagesResponse(
            request_id=request_id,
            model=version(ask.model),
            images=sorted(images, key=lambda image: image.index),
            warnings=tally.warnings(),
            timings=self._end(ask, tally),
        )

    def _finished(
        self, request_id: str, ask: Ask, tally: _Tally
    ) -> image_service_pb2.GenerateFinished:
        return image_service_pb2.GenerateFinished(
            request_id=request_id,
            count=len(ask.seeds),
            warnings=tally.warnings(),
            timings=self._end(ask, tally),
        )

    def _end(self, ask: Ask, tally: _Tally) -> conditions_pb2.Timings:
        """Count an answered request; return where its time went."""
        timings = tally.timings()
        span = SPAN.get()
        if span is not None:
            stages = ("queue_ms", "encode_ms", "generate_ms", "pack_ms")
            span.tell({stage: getattr(timings, stage) for stage in stages})
            span.tell({"model": ask.model.name, "pictures": len(ask.items)})
        if self._answered is not None:
            self._answered(ask.model.name, len(ask.items), timings)
        return timings

    def _submit(self, ask: Ask, request_bytes: int, context: _Context) -> Ticket:
        remaining: float | None = context.time_remaining()
        deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
        grant = CALLER.get().grant
        if self._tokens is not None and grant is not None:
            try:
                self._tokens.spend(grant, len(ask.items))
            except OverQuota as over:
                raise over_quota(over.limit, over.retry_seconds) from None
        pixels = sum(side * side for side in ask.model.resolutions)
        try:
            ticket = self._engine.submit(
                model_key(ask.model),
                ask.items,
                deadline=deadline,
                caller=CALLER.get().name,
                priority=priority_of(context.invocation_metadata() or ()),
                held=request_bytes + 3 * pixels * len(ask.items),
            )
        except tuple(_REFUSALS) as error:
            raise _refusal(error) from None
        context.add_done_callback(lambda _: ticket.cancel())  # type: ignore[arg-type]
        return ticket

    async def _images(
        self, tally: _Tally, ask: Ask, chosen: Sequence[_Chosen]
    ) -> list[conditions_pb2.GeneratedImage]:
        if ask.best_of == 1 and not ask.items[0].attention:
            # Packed already.
            return _images(ask, chosen)
        loop = asyncio.get_running_loop()
        began = loop.time()
        images = await loop.run_in_executor(self._packers, _images, ask, chosen)
        tally.pack_seconds += loop.time() - began
        return images


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Tells which models there are.

    Args:
        models: returns the loaded models, or refuses while there are none.
    """

    def __init__(self, models: Callable[[], Models]) -> None:
        self._models = models

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: _Context
    ) -> model_service_pb2.ListModelsResponse:
        """List all models, the default first."""
        models = self._models()
        return model_service_pb2.ListModelsResponse(
            models=[describe(info, is_default=models.is_default(info)) for info in models.list()]
        )

    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: _Context
    ) -> model_service_pb2.GetModelResponse:
        """Describe one model."""
        models = self._models()
        info = models.find(request.name)
        model = describe(info, is_default=models.is_default(info))
        return model_service_pb2.GetModelResponse(model=model)


class _Chosen(NamedTuple):
    """A picture to send: the number of its item in the request, and what was drawn."""

    item: int
    drawn: Drawn


class _Choice:
    """Keeps the best of each picture's candidates, as soon as the last of them is there.

    Args:
        best_of: how many items in a row are candidates for one picture.
    """

    def __init__(self, best_of: int) -> None:
        self._best_of = best_of
        self._waiting: dict[int, list[_Chosen]] = {}

    def add(self, part: Part) -> list[_Chosen]:
        """Return the pictures that are decided by some more items."""
        decided = []
        for item, drawn in enumerate(part.drawn, part.start):
            candidates = self._waiting.setdefault(item // self._best_of, [])
            candidates.append(_Chosen(item, drawn))
            if len(candidates) == self._best_of:
                # Parts may overtake each other; of equal scores the first candidate wins.
                decided.append(max(candidates, key=lambda one: (one.drawn.score or 0.0, -one.item)))
                del self._waiting[item // self._best_of]
        return decided


@dataclass(slots=True)
class _Tally:
    """Adds up where the time of one request goes, and its warnings."""

    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    encoded: list[_Span] = field(default_factory=list)
    drawn: list[_Span] = field(default_factory=list)
    packed: list[_Span] = field(default_factory=list)
    pack_seconds: float = 0.0
    found: dict[GenerationWarning, None] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        # By the time from the request's arrival; what is encoded is so before a worker begins.
        start, end = part.queue_seconds, part.queue_seconds + part.generate_seconds
        self.encoded.append((start - part.encode_seconds, start))
        self.drawn.append((start, end))
        self.packed.append((end, end + part.pack_seconds))
        for drawn in part.drawn:
            self.found.update(dict.fromkeys(drawn.warnings))

    def warnings(self) -> list[conditions_pb2.Warning]:
        return [
            conditions_pb2.Warning(
                reason=warning.reason,
                message=warning.message,
                distance=warning.distance,
                threshold=warning.threshold,
            )
            for warning in self.found
        ]

    def timings(self) -> conditions_pb2.Timings:
        return conditions_pb2.Timings(
            queue_ms=min((start for start, _ in self.drawn), default=0.0) * 1e3,
            encode_ms=_covered(self.encoded) * 1e3,
            generate_ms=_covered(self.drawn) * 1e3,
            pack_ms=(_covered(self.packed) + self.pack_seconds) * 1e3,
            total_ms=(asyncio.get_running_loop().time() - self.began) * 1e3,
        )


def _covered(spans: Iterable[_Span]) -> float:
    """Return the length of what spans of a line cover together."""
    length, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


async def _parts(ticket: Ticket) -> AsyncIterator[Part]:
    """Yield what the engine delivers, and turn what went wrong into the answer to send."""
    try:
        async for part in ticket.parts():
            yield part
    except InvalidInput as error:
        raise invalid([violation(error)]) from None
    except tuple(_REFUSALS) as error:
        raise _refusal(error) from None
    except BackendFailed as failure:
        if isinstance(failure.__cause__, WorkerLost):
            raise worker_lost() from None
        raise failure.__cause__ or failure from None


_REFUSALS: dict[type[Exception], Callable[[Any], Refusal]] = {
    QueueFull: lambda full: queue_full(full.retry_seconds),
    DeadlineOutOfReach: lambda late: deadline_out_of_reach(late.retry_seconds),
    DeadlineTooShort: lambda short: deadline_too_short(short.needed_seconds),
    DeadlinePassed: lambda _: deadline_passed(),
}


def _refusal(error: Exception) -> Refusal:
    """Return the answer to a request that the engine would not do."""
    return _REFUSALS[type(error)](error)


def _images(ask: Ask, chosen: Sequence[_Chosen]) -> list[conditions_pb2.GeneratedImage]:
    """Return the stages of pictures that are sent, and pack those that are not yet."""
    last = len(ask.model.resolutions) - 1
    return [
        conditions_pb2.GeneratedImage(
            index=one.item // ask.best_of,
            seed=ask.items[one.item].seed,
            score=one.drawn.score,
            attention=map(_map, one.drawn.attention) if packed.stage == last else (),
            stage=packed.stage,
            width=packed.width,
            height=packed.height,
            format=ask.format,
            data=packed.data,
        )
        for one in chosen
        for packed in one.drawn.packed or pack(one.drawn.pictures, ask.packing)
    ]


def _map(map: WordMap) -> conditions_pb2.WordMap:
    largest = float(map.weights.max())
    weights = (map.weights * (255.0 / (largest or 1.0))).round().astype("uint8")
    return conditions_pb2.WordMap(
        word=map.word, side=len(weights), weights=weights.tobytes(), largest=largest
    )
