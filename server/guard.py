"""Stands before every call of every service: token, malformed messages, faults, the log.

gRPC's own answers to bad bytes and to exceptions name Python classes; these do not. What a
handler refuses is sent as its status; what it did not foresee becomes INTERNAL with nothing
inside, and the log holds the rest under the request's id.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc
from google.rpc import code_pb2
from grpc_status import rpc_status

from server.callers import Caller, caller_of
from server.refusals import Refusal, internal, malformed, stopping, unauthenticated
from server.requests import is_request_id
from server.telemetry import Done
from server.tokens import Grant, Tokens
from t2i.tracing import Incoming

__all__ = ["CALLER", "REQUEST_ID", "SPAN", "Guard"]

REQUEST_ID: ContextVar[str] = ContextVar("request_id")
CALLER: ContextVar[Caller] = ContextVar("caller")
SPAN: ContextVar[Incoming | None] = ContextVar("span", default=None)

# Probes of orchestrators carry no secret, and the answer holds none.
_OPEN_TO_ALL = "/grpc.health.v1.Health/"
_OURS = "/t2i."

_log = logging.getLogger("t2i.server")

# Handlers differ in what they take and give; the guard passes both through unseen.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class _Malformed:
    """Stands in for a message that could not be read."""

    def __init__(self, description: str) -> None:
        self.description = description


class Guard(grpc.aio.ServerInterceptor):
    """Checks and wraps every call.

    Args:
        max_request_bytes: size of a request message.
        tokens: what calls must carry as `authorization: Bearer TOKEN`; None for no check.
        done: told of every call of the project's own services that ended.
    """

    def __init__(
        self,
        *,
        max_request_bytes: int,
        tokens: Tokens | None,
        done: Callable[[Done], None] | None = None,
    ) -> None:
        self._max_request_bytes = max_request_bytes
        self._tokens = tokens
        self._done = done
        self._wrapped: dict[str, _Handler] = {}
        self._turns_away = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def turn_away(self) -> None:
        """Refuse every call of the project's own services from now on."""
        self._turns_away = True

    async def wait_idle(self) -> None:
        """Wait until no call of the project's own services runs."""
        await self._idle.wait()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Return the handler of a call, wrapped; None for a method that nobody serves."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def grant(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Grant | None:
        """Return what a call's token allows; None where none is asked for.

        Raises:
            Refusal: UNAUTHENTICATED, where it is missing or wrong.
        """
        if self._tokens is None or method.startswith(_OPEN_TO_ALL):
            return None
        given = [value for key, value in metadata if key == "authorization"]
        found = self._tokens.find(given[0] if len(given) == 1 else None)
        if found is None:
            raise unauthenticated()
        return found

    def check_open(self, method: str) -> None:
        """Let a call in.

        Raises:
            Refusal: UNAVAILABLE, while the server stops.
        """
        if self._turns_away and method.startswith(_OURS):
            raise stopping()

    def _wrap(self, method: str, handler: _Handler) -> _Handler:
        behavior: Any = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        yields = inspect.isasyncgenfunction(behavior)

        async def answer(request: Any, context: _Context) -> Any:
            with _Call(self, method, request) as call:
                try:
                    call.check(context)
                    return await behavior(_checked(request), context)
                except Exception as error:
                    await call.refuse(error, context)

        async def stream(request: Any, context: _Context) -> AsyncIterator[Any]:
            with _Call(self, method, request) as call:
                try:
                    call.check(context)
                    async for message in behavior(_checked(request), context):
                        yield message
                except Exception as error:
                    await call.refuse(error, context)

        makers: dict[tuple[bool, bool], Callable[..., _Handler]] = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        return makers[handler.request_streaming, handler.response_streaming](
            stream if yields else answer,
            request_deserializer=self._reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _reader(self, deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
        def read(data: bytes) -> Any:
            if len(data) > self._max_request_bytes:
                return _Malformed(
                    f"the message has {len(data)} bytes; send at most {self._max_request_bytes}"
                )
            try:
                return deserialize(data) if deserialize else data
            except Exception:
                # Whatever a decoder says about a stranger's bytes, the stranger sent them.
                return _Malformed("the bytes are not a message of this call's request type")

        return read

    def enter(self, method: str) -> None:
        """Count a call that begins."""
        if method.startswith(_OURS):
            self._running += 1
            self._idle.clear()

    def tell(self, call: Done) -> None:
        """Pass on that a call ended."""
        if self._done is not None and call.method.startswith(_OURS):
            self._done(call)

    def leave(self, method: str) -> None:
        """Count a call that ended."""
        if method.startswith(_OURS):
            self._running -= 1
            if self._running == 0:
                self._idle.set()


class _Call:
    """One call: its id, its end, its line in the log."""

    def __init__(self, guard: Guard, method: str, request: Any) -> None:
        self._guard, self._method, self._request = guard, method, request
        self._began = time.perf_counter()
        self._code, self._reason = "OK", ""
        self._span: Incoming | None = None
        given = getattr(request, "request_id", "")
        self._id = given if is_request_id(given) else str(uuid.uuid4())

    def __enter__(self) -> _Call:
        REQUEST_ID.set(self._id)
        self._guard.enter(self._method)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._guard.leave(self._method)
        if kind is not None and not issubclass(kind, Exception):
            self._code = "CANCELLED"
        seconds = time.perf_counter() - self._began
        self._guard.tell(Done(self._method, self._code, self._reason, seconds, self._id))
        if self._span is not None:
            self._span.end(self._code, self._reason, self._id)
        level = logging.INFO if self._method.startswith(_OURS) else logging.DEBUG
        if _log.isEnabledFor(level):
            outcome = f"{self._code} ({self._reason})" if self._reason else self._code
            _log.log(
                level,
                "%s %s %.1f ms request_id=%s",
                self._method,
                outcome,
                seconds * 1e3,
                self._id,
                extra={
                    "method": self._method,
                    "code": self._code,
                    "reason": self._reason,
                    "milliseconds": round(seconds * 1e3, 3),
                    "request_id": self._id,
                },
            )

    def check(self, context: _Context) -> None:
        """Refuse a call without the token, and a message that could not be read."""
        metadata = context.invocation_metadata() or ()
        if self._method.startswith(_OURS):
            self._span = Incoming(self._method, metadata)
            SPAN.set(self._span)
        grant = self._guard.grant(self._method, metadata)
        CALLER.set(caller_of(context.peer(), metadata, grant))
        self._guard.check_open(self._method)
        if isinstance(self._request, _Malformed):
            raise malformed(self._request.description)

    async def refuse(self, error: Exception, context: _Context) -> None:
        """End the call with the status of what went wrong."""
        if isinstance(error, grpc.aio.AbortError):
            self._code = "ABORTED"
            raise error
        if isinstance(error, Refusal):
            refusal = error
        else:
            refusal = internal()
            known = {"method": self._method, "request_id": self._id}
            _log.error(
                "%s failed request_id=%s", self._method, self._id, exc_info=error, extra=known
            )
        self._code, self._reason = code_pb2.Code.Name(refusal.code), refusal.reason
        try:
            await context.abort_with_status(rpc_status.to_status(refusal.status(self._id)))
        except grpc.aio.InternalError:
            # The caller left before it could be told. In an overload many do, and gRPC would write
            # two tracebacks into the log for each.
            raise asyncio.CancelledError from None


def _checked(request: Any) -> Any:
    """Return a request as it is, and a stream of requests so that a malformed one is refused."""
    return _refusing(request) if hasattr(request, "__aiter__") else request


async def _refusing(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, _Malformed):
            raise malformed(request.description)
        yield request
