"""The answers to requests that cannot be carried out, as google.rpc.Status with details.

Every refusal carries an ErrorInfo with a stable reason of the domain "t2i" and a RequestInfo with
the request's id; the rest of the details depends on the kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2

__all__ = [
    "DOMAIN",
    "Refusal",
    "Violation",
    "change_refused",
    "deadline_out_of_reach",
    "deadline_passed",
    "deadline_too_short",
    "internal",
    "invalid",
    "job_not_found",
    "jobs_off",
    "malformed",
    "model_not_found",
    "model_unavailable",
    "no_memory",
    "not_ready",
    "over_quota",
    "queue_full",
    "request_id_reused",
    "stopping",
    "too_many_jobs",
    "unauthenticated",
    "worker_lost",
]

DOMAIN = "t2i"
# When a server that is told to stop has probably been started again.
_AGAIN_SECONDS = 0.5
# When another worker has probably taken over, or the lost one is on its way back.
_WORKER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field of a request.

    Attributes:
        field: path of the field, such as `"options.quality"` or `"seeds[2]"`.
        description: what is wrong and what would be right.
    """

    field: str
    description: str


class Refusal(Exception):
    """Ends a call with a status other than OK."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(answer.text)
        self._answer = answer

    @property
    def code(self) -> int:
        """The code, one of `google.rpc.Code`."""
        return self._answer.code

    @property
    def reason(self) -> str:
        """The stable reason, such as `"QUEUE_FULL"`."""
        return self._answer.reason

    def status(self, request_id: str) -> status_pb2.Status:
        """Return the status to send for the request with this id."""
        answer = self._answer
        info = error_details_pb2.ErrorInfo(
            reason=answer.reason, domain=DOMAIN, metadata=answer.metadata
        )
        details: list[message.Message] = [info, *answer.details]
        if request_id:
            details.append(error_details_pb2.RequestInfo(request_id=request_id))
        return status_pb2.Status(
            code=answer.code, message=answer.text, details=[_packed(d) for d in details]
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    reason: str
    text: str
    details: tuple[message.Message, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def invalid(violations: Iterable[Violation]) -> Refusal:
    """Refuse a request for one or more wrong fields."""
    found = list(violations)
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in found
        ]
    )
    text = "; ".join(f"{v.field}: {v.description}" for v in found)
    return Refusal(_Answer(code_pb2.INVALID_ARGUMENT, "INVALID_FIELD", text, (bad,)))


def malformed(description: str) -> Refusal:
    """Refuse bytes that are not the message they should be, or are too many."""
    violation = error_details_pb2.BadRequest.FieldViolation(field="", description=description)
    bad = error_details_pb2.BadRequest(field_violations=[violation])
    return Refusal(_Answer(code_pb2.INVALID_ARGUMENT, "MALFORMED_MESSAGE", description, (bad,)))


def model_not_found(name: str, known: Iterable[str]) -> Refusal:
    """Refuse a model that this server does not have, naming those that it has."""
    names = ", ".join(known)
    text = f"model: there is no {name!r}; this server has {names}"
    resource = error_details_pb2.ResourceInfo(
        resource_type="t2i.v1.Model", resource_name=name, description=text
    )
    return Refusal(
        _Answer(code_pb2.NOT_FOUND, "MODEL_NOT_FOUND", text, (resource,), {"models": names})
    )


def model_unavailable(name: str, retry_seconds: float) -> Refusal:
    """Refuse a request for a model that is not in memory and could not be loaded."""
    text = f"model: {name} cannot be loaded at present; the server's log says why"
    return Refusal(
        _Answer(code_pb2.UNAVAILABLE, "MODEL_UNAVAILABLE", text, (_retry(retry_seconds),))
    )


def no_memory(name: str, retry_seconds: float) -> Refusal:
    """Refuse a request for a model for which the models at work leave no memory."""
    text = f"model: the other models are at work and leave no memory for {name}; come back later"
    return Refusal(
        _Answer(code_pb2.RESOURCE_EXHAUSTED, "NO_MEMORY", text, (_retry(retry_seconds),))
    )


def change_refused(text: str) -> Refusal:
    """Refuse an operator's change of the models; all is as it was before."""
    return Refusal(_Answer(code_pb2.FAILED_PRECONDITION, "CHANGE_REFUSED", text))


def queue_full(retry_seconds: float) -> Refusal:
    """Refuse a request because too many pictures wait already."""
    text = f"too many pictures wait; come back in {retry_seconds:.1f} s"
    return Refusal(
        _Answer(code_pb2.RESOURCE_EXHAUSTED, "QUEUE_FULL", text, (_retry(retry_seconds),))
    )


def not_ready(retry_seconds: float) -> Refusal:
    """Refuse a request because the models are still being loaded."""
    text = "the server is starting; its models are not loaded yet"
    return Refusal(_Answer(code_pb2.UNAVAILABLE, "STARTING", text, (_retry(retry_seconds),)))


def over_quota(limit: str, retry_seconds: float | None) -> Refusal:
    """Refuse more pictures than the caller's token allows.

    Args:
        limit: which limit of the token it is.
        retry_seconds: when there is room; None when the request alone is over the limit.
    """
    text = f"the token allows fewer {limit.replace('_', ' ')}"
    text += "; ask for fewer" if retry_seconds is None else f"; come back in {retry_seconds:.1f} s"
    failure = error_details_pb2.QuotaFailure(
        violations=[error_details_pb2.QuotaFailure.Violation(subject=limit, description=text)]
    )
    details = (failure,) if retry_seconds is None else (failure, _retry(retry_seconds))
    return Refusal(_Answer(code_pb2.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", text, details))


def worker_lost() -> Refusal:
    """Refuse a request whose worker died; another one can take it."""
    text = "the worker that drew it ended; ask again"
    return Refusal(_Answer(code_pb2.UNAVAILABLE, "WORKER_LOST", text, (_retry(_WORKER_SECONDS),)))


def deadline_out_of_reach(retry_seconds: float) -> Refusal:
    """Refuse a request that could not be done in time after what waits already."""
    text = (
        "with what waits already, the pictures could not be there in time; give more time, or come "
        f"back in {retry_seconds:.1f} s"
    )
    return Refusal(
        _Answer(
            code_pb2.RESOURCE_EXHAUSTED, "DEADLINE_OUT_OF_REACH", text, (_retry(retry_seconds),)
        )
    )


def deadline_too_short(needed_seconds: float) -> Refusal:
    """Refuse a request that could not be done in time even if nothing else waited."""
    milliseconds = math.ceil(needed_seconds * 1e3)
    text = f"the pictures take about {milliseconds} ms, more than the deadline allows"
    return Refusal(
        _Answer(
            code_pb2.DEADLINE_EXCEEDED,
            "DEADLINE_TOO_SHORT",
            text,
            metadata={"needed_ms": str(milliseconds)},
        )
    )


def request_id_reused() -> Refusal:
    """Refuse a request whose id was another request's."""
    text = "request_id: it was another request's; give each request an id of its own"
    return Refusal(_Answer(code_pb2.ALREADY_EXISTS, "REQUEST_ID_REUSED", text))


def deadline_passed() -> Refusal:
    """Refuse a request that waited and could no longer be done in time."""
    text = "the request waited for a worker until it could no longer be done in time"
    return Refusal(_Answer(code_pb2.DEADLINE_EXCEEDED, "DEADLINE_PASSED_IN_QUEUE", text))


def jobs_off() -> Refusal:
    """Refuse a call about batch jobs where none are run."""
    text = "this server runs no batch jobs; its operator can let it with t2i-serve --jobs FOLDER"
    return Refusal(_Answer(code_pb2.UNIMPLEMENTED, "JOBS_OFF", text))


def job_not_found(id: str) -> Refusal:
    """Refuse a job that the caller does not have; whether another has it is not told."""
    text = f"id: you have no job {id!r}; ListBatchJobs tells those that you have"
    resource = error_details_pb2.ResourceInfo(
        resource_type="t2i.v1.BatchJob", resource_name=id, description=text
    )
    return Refusal(_Answer(code_pb2.NOT_FOUND, "JOB_NOT_FOUND", text, (resource,)))


def too_many_jobs(most: int) -> Refusal:
    """Refuse one more job of a caller who has as many as may be under way."""
    text = f"you have {most} jobs that have not ended; wait for one, or cancel it"
    failure = error_details_pb2.QuotaFailure(
        violations=[error_details_pb2.QuotaFailure.Violation(subject="jobs", description=text)]
    )
    return Refusal(_Answer(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_JOBS", text, (failure,)))


def stopping() -> Refusal:
    """Refuse a call because the server is about to end."""
    text = "the server is stopping; ask another one, or this one when it is started again"
    return Refusal(_Answer(code_pb2.UNAVAILABLE, "STOPPING", text, (_retry(_AGAIN_SECONDS),)))


def unauthenticated() -> Refusal:
    """Refuse a call without the right token."""
    text = "a valid token is required; send it as metadata 'authorization: Bearer TOKEN'"
    return Refusal(_Answer(code_pb2.UNAUTHENTICATED, "TOKEN_REQUIRED", text))


def internal() -> Refusal:
    """Refuse a request because of a fault here; what it was stands in the server's log only."""
    text = "internal error; the server's log has the details under the request id"
    return Refusal(_Answer(code_pb2.INTERNAL, "INTERNAL", text))


def _retry(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _packed(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
