"""Answers by request id, so that asking again costs nothing and changes nothing.

A caller that names its request and loses the answer asks again with the same id and gets the same
answer. The answers are kept for a while, within bounds of number, bytes and age; of one that was
thrown away the pictures are drawn again, and are the same, since their seeds come from the request
or its id. An id that comes back with another request is refused as long as it is remembered.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from google.protobuf.message import Message

from server.refusals import request_id_reused
from server.requests import is_request_id
from t2i.protocol.v1 import image_service_pb2

__all__ = ["REPLAY_BYTES", "REPLAY_SECONDS", "Replays"]

REPLAY_BYTES = 64 * 1024 * 1024
REPLAY_SECONDS = 600.0
_IDS = 10_000

M = TypeVar("M", bound=Message)
Asked: TypeAlias = image_service_pb2.GenerateRequest | image_service_pb2.GenerateImagesRequest


@dataclass(slots=True, eq=False)
class _Entry:
    digest: bytes
    began: float
    # None while there is no answer to repeat.
    messages: list[Message] | None = None
    bytes: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Replays:
    """Remembers requests that have an id of their own, and their answers.

    Args:
        most_bytes: what the answers may hold together; 0 keeps none.
        seconds: how long an id and its answer are kept.
        most_ids: how many ids are remembered.
    """

    def __init__(
        self,
        *,
        most_bytes: int = REPLAY_BYTES,
        seconds: float = REPLAY_SECONDS,
        most_ids: int = _IDS,
    ) -> None:
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._most_ids = most_ids
        # The oldest first.
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._bytes = 0
        self.replayed = 0

    @property
    def bytes(self) -> int:
        """What the answers hold."""
        return self._bytes

    async def answer(self, request: Asked, owner: str, draw: Callable[[], Awaitable[M]]) -> M:
        """Return the answer of a request: the one that it had before, or a new one.

        Raises:
            Refusal: ALREADY_EXISTS when the id was another request's.
            Exception: whatever `draw` raises.
        """
        if not is_request_id(request.request_id):
            return await draw()

        async def once() -> AsyncGenerator[M, None]:
            yield await draw()

        # To its end: only then is the answer kept.
        (message,) = [message async for message in self.events(request, owner, once)]
        return message

    def events(
        self, request: Asked, owner: str, draw: Callable[[], AsyncIterator[M]]
    ) -> AsyncIterator[M]:
        """Return the messages of a request: those that it had before, or new ones.

        A request that comes again while it is still being drawn waits for that.

        Raises:
            Refusal: ALREADY_EXISTS when the id was another request's; with the first message.
            Exception: whatever `draw` raises.
        """
        if not is_request_id(request.request_id):
            return draw()
        return self._remembered(request, owner, draw)

    async def _remembered(
        self, request: Asked, owner: str, draw: Callable[[], AsyncIterator[M]]
    ) -> AsyncGenerator[M, None]:
        key, digest = (owner, request.request_id.lower()), _digest(request)
        self._forget_old()
        while (entry := self._entries.get(key)) is not None:
            if entry.digest != digest:
                raise request_id_reused()
            if entry.messages is not None:
                self.replayed += 1
                for kept in list(entry.messages):
                    yield kept  # type: ignore[misc]
                return
            if entry.ended.is_set():
                break
            await entry.ended.wait()
        entry = _Entry(digest, asyncio.get_running_loop().time())
        self._entries[key] = entry
        self._entries.move_to_end(key)
        messages: list[Message] = []
        complete = False
        try:
            async for message in draw():
                messages.append(message)
                yield message
            complete = True
        finally:
            entry.ended.set()
            if complete:
                self._keep(key, entry, messages)
            elif not messages and self._entries.get(key) is entry:
                # Nothing was promised under this id.
                del self._entries[key]

    def _keep(self, key: tuple[str, str], entry: _Entry, messages: list[Message]) -> None:
        size = sum(message.ByteSize() for message in messages)
        if size > self._most_bytes or self._entries.get(key) is not entry:
            return
        entry.messages, entry.bytes = messages, size
        self._bytes += size
        for old in self._entries.values():
            if self._bytes <= self._most_bytes:
                break
            if old is not entry:
                self._drop_answer(old)

    def _drop_answer(self, entry: _Entry) -> None:
        self._bytes -= entry.bytes
        entry.messages, entry.bytes = None, 0

    def _forget_old(self) -> None:
        oldest = asyncio.get_running_loop().time() - self._seconds
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.began >= oldest and len(self._entries) < self._most_ids:
                return
            del self._entries[key]
            self._drop_answer(entry)


def _digest(request: Asked) -> bytes:
    body = copy.deepcopy(request)
    # Its letters may be upper or lower case.
    body.request_id = ""
    if isinstance(body, image_service_pb2.GenerateRequest):
        # How events travel and not what is drawn; what is kept becomes either form.
        body.group_events = False
    name = type(request).__name__.encode()
    return hashlib.sha256(name + body.SerializeToString(deterministic=True)).digest()
