"""Spans of OpenTelemetry, where that is installed and set up; elsewhere nothing, at no cost.

A client's call becomes a span below whatever span its program is in, and travels to the service as
the W3C's ``traceparent``. The service's span of the same call is below it. Spans carry methods,
times, codes and request ids; never a caption, a seed, a picture or a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import propagate, trace
except ImportError:  # pragma: no cover - the base installation
    propagate = trace = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["Incoming", "Outgoing"]

_NAME = "t2i"
_OK = ("OK", "CANCELLED")


def _is_set_up() -> bool:
    """Tell whether anybody takes spans; else they would be made at every call and thrown away."""
    return trace is not None and not isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider
    )


class Outgoing:
    """A call to a service, as a context; gives the metadata that makes it known there.

    Args:
        request: what is sent; only the name of its type is told.
    """

    def __init__(self, request: Message) -> None:
        self._method = request.DESCRIPTOR.name.removesuffix("Request")
        self._span: Any = None

    def __enter__(self) -> tuple[tuple[str, str], ...]:
        if not _is_set_up():
            return ()
        self._span = trace.get_tracer(_NAME).start_span(
            f"t2i.client {self._method}", kind=trace.SpanKind.CLIENT, attributes={
                "rpc.system": "grpc", "rpc.method": self._method,
            },
        )  # fmt: skip
        carrier: dict[str, str] = {}
        # Not made current: an iterator over events may be left and taken up anywhere.
        propagate.inject(carrier, context=trace.set_span_in_context(self._span))
        return tuple(carrier.items())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        if isinstance(error, Exception):
            code = getattr(error, "code", None)
            name = code().name if callable(code) else type(error).__name__
            self._span.set_attribute("rpc.grpc.status", name)
            self._span.set_status(trace.StatusCode.ERROR, name)
        self._span.end()


class Incoming:
    """A call that a service answers.

    Args:
        method: its full name, such as ``/t2i.v1.ImageService/Generate``.
        metadata: of the call; may name the caller's span.
    """

    def __init__(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._span: Any = None
        if not _is_set_up():
            return
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        service, _, name = method.strip("/").rpartition("/")
        self._span = trace.get_tracer(_NAME).start_span(
            method.strip("/"), context=propagate.extract(carrier), kind=trace.SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )  # fmt: skip

    def tell(self, told: Mapping[str, str | float]) -> None:
        """Add numbers and names to the span."""
        if self._span is not None:
            for key, value in told.items():
                self._span.set_attribute(f"t2i.{key}", value)

    def end(self, code: str, reason: str, request_id: str) -> None:
        """End the span with the call's status."""
        if self._span is None:
            return
        self._span.set_attribute("rpc.grpc.status", code)
        self.tell({"request_id": request_id, **({"reason": reason} if reason else {})})
        if code not in _OK:
            self._span.set_status(trace.StatusCode.ERROR, reason or code)
        self._span.end()
