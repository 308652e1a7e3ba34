"""From a request to what a job is to do, every field checked and every fault named."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable
from typing import TypeVar

from server.jobs.places import find_input, find_output, plain
from server.jobs.settings import JobSettings
from server.jobs.store import STATES, State, StoredJob
from server.models import Models
from server.refusals import Violation, invalid
from server.requests import is_request_id
from t2i.batch import parquet
from t2i.batch.formats import INPUT_FORMATS, SHARD_FORMATS, InputFormat, ShardFormat
from t2i.batch.plan import MAX_ROWS_PER_SHARD
from t2i.batch.records import format_of
from t2i.conditions import MAX_NAME_CHARACTERS
from t2i.errors import InvalidInput
from t2i.extras import ExtraMissing
from t2i.protocol.v1 import batch_service_pb2 as pb
from t2i.protocol.v1 import conditions_pb2
from t2i.seeds import LARGEST_SEED, MAX_BEST_OF
from t2i.takes import check_best_of

__all__ = [
    "MOST_A_PAGE",
    "STATE_NAMES",
    "digest_of",
    "input_format_of",
    "read_create",
    "read_page",
    "shard_format_of",
]

MAX_COUNT = 16
MOST_A_PAGE = 1000
_A_PAGE = 50
_ROWS_PER_SHARD = 1000
_MAX_TOKEN_CHARACTERS = 256

STATE_NAMES: dict[State, pb.BatchJobState.ValueType] = {
    state: pb.BatchJobState.Value(f"BATCH_JOB_STATE_{state.upper()}") for state in STATES
}
_STATES = {value: state for state, value in STATE_NAMES.items()}
_INPUT_FORMATS: dict[pb.BatchInputFormat.ValueType, InputFormat] = {
    pb.BatchInputFormat.Value(f"BATCH_INPUT_FORMAT_{name.upper()}"): name for name in INPUT_FORMATS
}
_SHARD_FORMATS: dict[pb.BatchShardFormat.ValueType, ShardFormat] = {
    pb.BatchShardFormat.Value(f"BATCH_SHARD_FORMAT_{name.upper()}"): name for name in SHARD_FORMATS
}

T = TypeVar("T")


def digest_of(spec: pb.BatchJobSpec) -> bytes:
    """Return what a request is known again by when it comes twice."""
    return hashlib.sha256(spec.SerializeToString(deterministic=True)).digest()


def input_format_of(spec: pb.BatchJobSpec) -> InputFormat | None:
    """Return how the rows of a job are written; None for what the suffix says."""
    return _INPUT_FORMATS.get(spec.input_format)


def shard_format_of(spec: pb.BatchJobSpec) -> ShardFormat:
    """Return what the shards of a job become; of one that an older server took in a tar file."""
    return _SHARD_FORMATS.get(spec.shard_format, "webdataset")


def read_create(
    request: pb.CreateBatchJobRequest,
    *,
    id: str,
    owner: str,
    models: Models,
    settings: JobSettings,
) -> StoredJob:
    """Check a request and return the job that it asks for; looks at files.

    Args:
        request: the message.
        id: of the job, a UUID of version 4.
        owner: whose it will be.
        models: the models that can be asked.
        settings: where jobs may read and write.

    Raises:
        Refusal: INVALID_ARGUMENT with every wrong field, or NOT_FOUND for an unknown model.
    """
    faults: list[Violation] = []

    def tried(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except InvalidInput as error:
            faults.append(Violation(error.field, f"{error.problem}; {error.remedy}"))
            return None

    spec = pb.BatchJobSpec()
    spec.CopyFrom(request.spec)
    if request.request_id and not is_request_id(request.request_id):
        faults.append(
            Violation("request_id", "is not a UUID of version 4; leave it empty or give one")
        )
    if len(spec.model) > MAX_NAME_CHARACTERS:
        faults.append(
            Violation("spec.model", f"has {len(spec.model)} characters; give {MAX_NAME_CHARACTERS}")
        )
    source = tried(lambda: plain("spec.input_uri", spec.input_uri))
    if source is not None:
        spec.input_uri = source
        tried(lambda: _check_input(source, spec, settings))
    folder = tried(lambda: plain("spec.output_uri", spec.output_uri))
    output = None
    if folder is not None:
        spec.output_uri = folder
        output = tried(lambda: find_output("spec.output_uri", folder, settings.output_root))
    if not spec.HasField("rows_per_shard"):
        spec.rows_per_shard = _ROWS_PER_SHARD
    if not spec.HasField("count"):
        spec.count = 1
    if not spec.HasField("seed"):
        spec.seed = secrets.randbelow(LARGEST_SEED + 1)
    if not spec.HasField("best_of"):
        spec.best_of = 1
    tried(lambda: _check_shard_format(spec))
    for name, value, low, high in (
        ("rows_per_shard", spec.rows_per_shard, 1, MAX_ROWS_PER_SHARD),
        ("count", spec.count, 1, MAX_COUNT),
        ("seed", spec.seed, 0, LARGEST_SEED),
        ("best_of", spec.best_of, 1, MAX_BEST_OF),
    ):
        if not low <= value <= high:
            faults.append(
                Violation(f"spec.{name}", f"{value} is out of range; give {low} to {high}")
            )
    _fill_options(spec.options, faults)
    if faults:
        raise invalid(faults)
    model = models.find(spec.model)
    spec.model = model.name
    try:
        check_best_of(model, spec.best_of)
    except InvalidInput as error:
        raise invalid([Violation("spec.best_of", f"{error.problem}; {error.remedy}")]) from None
    assert output is not None
    return StoredJob(
        owner=owner,
        id=id,
        digest=digest_of(request.spec),
        spec=spec.SerializeToString(),
        input=spec.input_uri,
        output=output.relative_to(settings.output_root.resolve()).as_posix(),
        model=model.name,
        version=model.version,
        checksum=model.checksum,
    )


def read_page(request: pb.ListBatchJobsRequest) -> tuple[int, tuple[int, str] | None, State | None]:
    """Return size of a page, the last job of the page before, and the state that is wanted.

    Raises:
        Refusal: INVALID_ARGUMENT with every wrong field.
    """
    faults: list[Violation] = []
    if request.page_size > MOST_A_PAGE:
        faults.append(
            Violation("page_size", f"{request.page_size} is out of range; give 1 to {MOST_A_PAGE}")
        )
    after = None
    if request.page_token:
        created, _, id = request.page_token.partition("-")
        if (
            len(request.page_token) > _MAX_TOKEN_CHARACTERS
            or not (created.isascii() and created.isdecimal() and int(created) < 2**63)
            or not is_request_id(id)
        ):
            faults.append(
                Violation("page_token", "is no token; give next_page_token of the page before")
            )
        else:
            after = (int(created), id)
    state = _STATES.get(request.state)
    if state is None and request.state != pb.BATCH_JOB_STATE_UNSPECIFIED:
        faults.append(Violation("state", f"{request.state} is unknown; leave it out for all"))
    if faults:
        raise invalid(faults)
    return request.page_size or _A_PAGE, after, state


def _check_input(path: str, spec: pb.BatchJobSpec, settings: JobSettings) -> None:
    found = find_input("spec.input_uri", path, settings.input_roots)
    if spec.input_format and spec.input_format not in _INPUT_FORMATS:
        raise InvalidInput(
            "spec.input_format",
            spec.input_format,
            f"{spec.input_format} is unknown",
            f"leave it out, or give one of {', '.join(INPUT_FORMATS)}",
        )
    try:
        input_format = format_of(found, input_format_of(spec))
    except InvalidInput as error:
        raise InvalidInput(
            "spec.input_uri",
            path,
            error.problem,
            "give a .jsonl, .csv, .parquet or .txt file, or set input_format",
        ) from None
    spec.input_format = next(
        value for value, name in _INPUT_FORMATS.items() if name == input_format
    )
    if input_format == "parquet":
        _check_parquet("spec.input_uri", path, "read", "give a .jsonl, .csv or .txt file")


def _check_shard_format(spec: pb.BatchJobSpec) -> None:
    given = spec.shard_format
    if not given:
        spec.shard_format = pb.BATCH_SHARD_FORMAT_WEBDATASET
    elif given not in _SHARD_FORMATS:
        raise InvalidInput(
            "spec.shard_format",
            given,
            f"{given} is unknown",
            f"leave it out, or give one of {', '.join(SHARD_FORMATS)}",
        )
    elif given == pb.BATCH_SHARD_FORMAT_PARQUET:
        _check_parquet("spec.shard_format", given, "write", "give webdataset or folder")


def _check_parquet(field: str, value: object, do: str, remedy: str) -> None:
    try:
        parquet.check_installed()
    except ExtraMissing:
        raise InvalidInput(field, value, f"this server cannot {do} Parquet", remedy) from None


def _fill_options(options: conditions_pb2.GenerateOptions, faults: list[Violation]) -> None:
    for name in ("truncation", "conditioning_truncation"):
        value: float = getattr(options, name) if options.HasField(name) else 1.0
        if not (math.isfinite(value) and 0 <= value <= 1):
            faults.append(
                Violation(f"spec.options.{name}", f"{value} is out of range; give 0 to 1")
            )
        setattr(options, name, value)
    if options.format not in (
        conditions_pb2.IMAGE_FORMAT_UNSPECIFIED,
        conditions_pb2.IMAGE_FORMAT_PNG,
    ):
        faults.append(Violation("spec.options.format", "jobs write PNG; leave it out or give PNG"))
    if options.HasField("quality"):
        faults.append(
            Violation("spec.options.quality", "is for lossy formats, and jobs write PNG; leave out")
        )
    options.format = conditions_pb2.IMAGE_FORMAT_PNG
