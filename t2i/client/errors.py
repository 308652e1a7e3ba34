"""What the service answers when it does not answer with pictures: one exception for each gRPC code.

>>> from t2i.client import Client, InvalidArgumentError
>>> try:
...     Client().generate_images("small bird with red head", count=99)
... except InvalidArgumentError as error:
...     print(error.violations[0].field)
count
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from t2i.errors import T2IError

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "CancelledError",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FieldViolation",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "ServiceError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
]

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that cannot be used.

    Attributes:
        field: its path in the request, such as `"seeds[2]"`.
        description: what is wrong with it and what would be right.
    """

    field: str
    description: str


class ServiceError(T2IError):
    """A request that the service did not carry out; each gRPC code has a subclass of its own.

    Attributes:
        code: the gRPC status code.
        message: what the service said, in one line.
        request_id: the id of the request in the server's log, or None when it never got one.
        violations: the fields that cannot be used; empty when the request itself was in order.
        reason: a stable name of the cause for programs, such as `"QUEUE_FULL"`; may be empty.
        retry_after: seconds after which the service asks to come back, or None.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        request_id: str | None = None,
        violations: Iterable[FieldViolation] = (),
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.message = " ".join(message.split())
        self.request_id = request_id
        self.violations = tuple(violations)
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(self.message)

    def __str__(self) -> str:
        text = self.message or f"the service answered {self.code.name}"
        told = [v for v in self.violations if v.description not in text]
        if told:
            text += " (" + "; ".join(f"{v.field}: {v.description}" for v in told) + ")"
        return text if self.request_id is None else f"{text} [request {self.request_id}]"


class CancelledError(ServiceError):
    """CANCELLED: the call was cancelled before it was done."""

    code = grpc.StatusCode.CANCELLED


class UnknownError(ServiceError):
    """UNKNOWN: the other side failed and did not say how; or it is no t2i service."""

    code = grpc.StatusCode.UNKNOWN


class InvalidArgumentError(ServiceError):
    """INVALID_ARGUMENT: a field of the request cannot be used; `violations` names each."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceededError(ServiceError):
    """DEADLINE_EXCEEDED: the pictures were not there in `timeout` seconds, or could not be."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFoundError(ServiceError):
    """NOT_FOUND: the service has no model of that name."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(ServiceError):
    """ALREADY_EXISTS: the request id belongs to a request that asked for something else."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDeniedError(ServiceError):
    """PERMISSION_DENIED: the token is known and does not allow this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhaustedError(ServiceError):
    """RESOURCE_EXHAUSTED: too many requests wait already, or a quota is used up."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPreconditionError(ServiceError):
    """FAILED_PRECONDITION: the service is not in a state to do this."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(ServiceError):
    """ABORTED: the service gave the request up; asking again may succeed."""

    code = grpc.StatusCode.ABORTED


class OutOfRangeError(ServiceError):
    """OUT_OF_RANGE: what was asked for lies past the end of what there is."""

    code = grpc.StatusCode.OUT_OF_RANGE


class UnimplementedError(ServiceError):
    """UNIMPLEMENTED: this service does not offer the method."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(ServiceError):
    """INTERNAL: a fault of the service; its log has the request id."""

    code = grpc.StatusCode.INTERNAL


class UnavailableError(ServiceError):
    """UNAVAILABLE: the service cannot be reached, or is starting or stopping."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLossError(ServiceError):
    """DATA_LOSS: stored data is damaged."""

    code = grpc.StatusCode.DATA_LOSS


class UnauthenticatedError(ServiceError):
    """UNAUTHENTICATED: the service wants a token, or does not know this one."""

    code = grpc.StatusCode.UNAUTHENTICATED


_CLASSES: dict[grpc.StatusCode, type[ServiceError]] = {
    cls.code: cls for cls in ServiceError.__subclasses__()
}


def from_call(call: grpc.RpcError, *, address: str, request_id: str | None) -> ServiceError:
    """Return the exception for a failed call.

    Args:
        call: the failed call.
        address: where the service was looked for; named when it cannot be reached.
        request_id: the id under which the call is known so far, or None.
    """
    code = call.code()
    message = call.details() or ""
    details = _details(call)
    if code is grpc.StatusCode.UNAVAILABLE and not details and "connect" in message.lower():
        cause = message.rsplit(": ", 1)[-1] or "no answer"
        message = f"cannot reach {address} ({cause}); is t2i-serve running there?"
    violations: list[FieldViolation] = []
    reason = ""
    retry_after: float | None = None
    for detail in details:
        bad = error_details_pb2.BadRequest()
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        request = error_details_pb2.RequestInfo()
        if detail.Unpack(bad):
            violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(retry):
            retry_after = max(0.0, retry.retry_delay.ToTimedelta().total_seconds())
        elif detail.Unpack(request):
            request_id = request.request_id or request_id
    return _CLASSES.get(code, UnknownError)(
        message,
        request_id=request_id,
        violations=violations,
        reason=reason,
        retry_after=retry_after,
    )


def _details(call: grpc.RpcError) -> list[Any]:
    # Pairs, though the type stubs know only the named pairs of the blocking half.
    metadata = cast("Iterable[tuple[str, str | bytes]]", call.trailing_metadata() or ())
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:
                # A service that sends rubbish here still sent a code and a message.
                return []
    return []
