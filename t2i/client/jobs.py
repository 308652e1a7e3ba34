"""Batch jobs as the service tells them, apart from how its messages travel."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, cast, get_args

from google.protobuf.timestamp_pb2 import Timestamp

from t2i.batch.formats import INPUT_FORMATS, SHARD_FORMATS, InputFormat, ShardFormat
from t2i.client.errors import DeadlineExceededError, InternalError, ServiceError
from t2i.client.messages import version_from_message, whole
from t2i.client.results import ModelVersion
from t2i.client.retries import Attempts
from t2i.errors import InvalidInput, shown
from t2i.protocol.v1 import batch_service_pb2, conditions_pb2
from t2i.seeds import LARGEST_SEED, MAX_BEST_OF

__all__ = [
    "BatchJob",
    "BatchJobError",
    "BatchJobState",
    "WatchState",
    "create_request",
    "id_of",
    "job_from_message",
    "list_request",
]

BatchJobState = Literal["unspecified", "pending", "running", "succeeded", "failed", "cancelled"]
_ENDS: frozenset[BatchJobState] = frozenset({"succeeded", "failed", "cancelled"})
_MOST_ROWS = 100_000
_MOST_PICTURES = 16
_A_PAGE = 100
_INPUT_FORMAT, _SHARD_FORMAT = "BATCH_INPUT_FORMAT_", "BATCH_SHARD_FORMAT_"
# A call that hears nothing for so long is made anew, so that a dead connection is noticed.
_CALL_SECONDS = 60.0
_RETRIES = 1_000_000


@dataclass(frozen=True, slots=True)
class BatchJobError:
    """Why a job failed.

    Attributes:
        reason: a stable name for programs, such as `"MODEL_CHANGED"`.
        message: one sentence for people.
    """

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """A job of the service and how far it has come.

    Attributes:
        id: a UUID of version 4.
        state: `"pending"`, `"running"`, or one of the ends `"succeeded"`, `"failed"` and
            `"cancelled"`.
        input: path of the rows below the server's folder of inputs.
        output: folder of the pictures below the server's folder of outputs.
        model: which model draws.
        rows_per_shard: rows in a shard.
        count: pictures of a row that does not tell.
        seed: what rows without a seed have theirs from.
        truncation: of a row that does not tell, 0 to 1.
        conditioning_truncation: the same.
        format: what a shard becomes: `"webdataset"`, `"folder"` or `"parquet"`.
        input_format: how the rows are written: `"jsonl"`, `"csv"`, `"parquet"` or `"text"`; None
            where an older service does not tell.
        best_of: candidates for each picture of a row that does not tell.
        total_rows: rows of the input; 0 until they are counted.
        completed_rows: rows of finished shards.
        failed_rows: those of them that could not be drawn.
        images: pictures in finished shards.
        total_shards: 0 until rows are counted.
        completed_shards: shards that are finished.
        failures: the file that tells of each failed row, below the server's folder of outputs;
            empty while there is none.
        error: why it failed, or None.
        created: when, and so are the next.
        started: when drawing began, or None.
        ended: when it ended, or None.
    """

    id: str
    state: BatchJobState
    input: str
    output: str
    model: ModelVersion
    rows_per_shard: int
    count: int
    seed: int
    truncation: float
    conditioning_truncation: float
    format: ShardFormat
    input_format: InputFormat | None
    best_of: int
    total_rows: int
    completed_rows: int
    failed_rows: int
    images: int
    total_shards: int
    completed_shards: int
    failures: str
    error: BatchJobError | None
    created: datetime
    started: datetime | None
    ended: datetime | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.state in _ENDS


def create_request(
    input: str,
    output: str,
    *,
    model: str | None,
    rows_per_shard: int | None,
    count: int | None,
    seed: int | None,
    truncation: float,
    conditioning_truncation: float,
    format: ShardFormat | None,
    input_format: InputFormat | None,
    best_of: int | None,
    request_id: str | None,
) -> batch_service_pb2.CreateBatchJobRequest:
    """Return the message for `BatchService.CreateBatchJob`.

    It always has an id, so that a call whose answer got lost starts no second job.

    Raises:
        InvalidInput: a value is of the wrong type, or no message can hold it.
    """
    for name, path in (("input", input), ("output", output)):
        if not isinstance(path, str) or not path:
            raise InvalidInput(name, path, f"{shown(path)} is no path", "give a relative path")
    for name, text in (("model", model), ("request_id", request_id)):
        if text is not None and not isinstance(text, str):
            raise InvalidInput(name, text, f"{shown(text)} is no text", "give a text")
    for name, value, low, high in (
        ("rows_per_shard", rows_per_shard, 1, _MOST_ROWS),
        ("count", count, 1, _MOST_PICTURES),
        ("seed", seed, 0, LARGEST_SEED),
        ("best_of", best_of, 1, MAX_BEST_OF),
    ):
        if value is not None:
            whole(name, value, low, high)
    for name, chosen, known in (
        ("format", format, SHARD_FORMATS),
        ("input_format", input_format, INPUT_FORMATS),
    ):
        if chosen is not None and chosen not in known:
            raise InvalidInput(
                name, chosen, f"{shown(chosen)} is unknown", f"give one of {', '.join(known)}"
            )
    for name, number in (
        ("truncation", truncation),
        ("conditioning_truncation", conditioning_truncation),
    ):
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise InvalidInput(name, number, f"{shown(number)} is no finite number", "give 0 to 1")
    return batch_service_pb2.CreateBatchJobRequest(
        request_id=request_id or str(uuid.uuid4()),
        spec=batch_service_pb2.BatchJobSpec(
            model=model or "",
            input_uri=input,
            output_uri=output,
            rows_per_shard=rows_per_shard,
            count=count,
            seed=seed,
            options=conditions_pb2.GenerateOptions(
                truncation=truncation, conditioning_truncation=conditioning_truncation
            ),
            input_format=batch_service_pb2.BatchInputFormat.Value(
                f"{_INPUT_FORMAT}{(input_format or 'unspecified').upper()}"
            ),
            shard_format=batch_service_pb2.BatchShardFormat.Value(
                f"{_SHARD_FORMAT}{(format or 'unspecified').upper()}"
            ),
            best_of=best_of,
        ),
    )


def list_request(state: BatchJobState | None) -> batch_service_pb2.ListBatchJobsRequest:
    """Return the message for the first page of `BatchService.ListBatchJobs`.

    Raises:
        InvalidInput: there is no such state.
    """
    if state is not None and state not in get_args(BatchJobState):
        known = ", ".join(get_args(BatchJobState)[1:])
        raise InvalidInput("state", state, f"{shown(state)} is unknown", f"give one of {known}")
    return batch_service_pb2.ListBatchJobsRequest(
        page_size=_A_PAGE,
        state=batch_service_pb2.BatchJobState.Value(
            f"BATCH_JOB_STATE_{(state or 'unspecified').upper()}"
        ),
    )


def id_of(job: BatchJob | str) -> str:
    """Return the id of a job, or the id itself.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(job, BatchJob):
        return job.id
    if not isinstance(job, str) or not job:
        raise InvalidInput("job", job, f"{shown(job)} is no job", "give a BatchJob or its id")
    return job


def job_from_message(job: batch_service_pb2.BatchJob) -> BatchJob:
    """Return a job."""
    spec = job.spec
    has_error = job.HasField("error")
    return BatchJob(
        id=job.id,
        state=_state(job.state),
        input=spec.input_uri,
        output=spec.output_uri,
        model=version_from_message(job.model),
        rows_per_shard=spec.rows_per_shard,
        count=spec.count,
        seed=spec.seed,
        truncation=spec.options.truncation,
        conditioning_truncation=spec.options.conditioning_truncation,
        format=_shard_format(spec.shard_format),
        input_format=_input_format(spec.input_format),
        best_of=spec.best_of or 1,
        total_rows=job.total_rows,
        completed_rows=job.completed_rows,
        failed_rows=job.failed_rows,
        images=job.images,
        total_shards=job.total_shards,
        completed_shards=job.completed_shards,
        failures=job.failures_uri,
        error=BatchJobError(job.error.reason, job.error.message) if has_error else None,
        created=_time(job.create_time),
        started=_time(job.start_time) if job.HasField("start_time") else None,
        ended=_time(job.end_time) if job.HasField("end_time") else None,
    )


@dataclass(slots=True)
class WatchState:
    """What a watched job was last, and for how long the service has been out of reach.

    Args:
        patience: seconds without the service after which its error is raised, more than 0.
    """

    patience: float
    last: BatchJob | None = None
    _attempts: Attempts = field(init=False)
    _heard: bool = False

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.patience, _RETRIES)

    @property
    def timeout(self) -> float:
        """Seconds for the next call."""
        return min(_CALL_SECONDS, self._attempts.remaining)

    @property
    def has_ended(self) -> bool:
        """Whether the job has."""
        return self.last is not None and self.last.has_ended

    def receive(self, message: batch_service_pb2.WatchBatchJobResponse) -> BatchJob | None:
        """Return the job to hand to the caller, or None when nothing has changed."""
        self._heard = True
        job = job_from_message(message.job)
        if job == self.last:
            return None
        self.last = job
        return job

    def wait_after(self, error: ServiceError) -> float:
        """Return how many seconds to wait before the job is watched again.

        Raises:
            ServiceError: the given error, when asking again is of no use, or patience is at its
                end.
        """
        if self._heard:
            self._heard = False
            self._attempts = Attempts(self.patience, _RETRIES)
            if isinstance(error, DeadlineExceededError):
                # It was our own, and nothing had changed.
                return 0.0
        return self._attempts.wait_after(error)

    def check_ended(self) -> None:
        """Check that a stream that ended without an error was of a job that has.

        Raises:
            InternalError: if it was not.
        """
        if not self.has_ended:
            raise InternalError("the stream ended before the job did")


def _state(number: int) -> BatchJobState:
    value = batch_service_pb2.BatchJobState.DESCRIPTOR.values_by_number.get(number)
    # A newer server may know states that this version has no name for.
    name = "unspecified" if value is None else value.name.removeprefix("BATCH_JOB_STATE_").lower()
    return cast("BatchJobState", name if name in get_args(BatchJobState) else "unspecified")


def _input_format(number: int) -> InputFormat | None:
    value = batch_service_pb2.BatchInputFormat.DESCRIPTOR.values_by_number.get(number)
    name = "" if value is None else value.name.removeprefix(_INPUT_FORMAT).lower()
    return name if name in INPUT_FORMATS else None


def _shard_format(number: int) -> ShardFormat:
    value = batch_service_pb2.BatchShardFormat.DESCRIPTOR.values_by_number.get(number)
    name = "" if value is None else value.name.removeprefix(_SHARD_FORMAT).lower()
    # A service that tells none is an older one, which had no other.
    return name if name in SHARD_FORMATS else "webdataset"


def _time(time: Timestamp) -> datetime:
    return time.ToDatetime(tzinfo=UTC)
