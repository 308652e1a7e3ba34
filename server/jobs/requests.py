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
from t2i.batch.plan import MAX_ROWS_PER_SHARD, MAX_SEED
from t2i.batch.records import format_of
from t2i.conditions import MAX_NAME_CHARACTERS
from t2i.errors import InvalidInput
from t2i.extras import ExtraMissing
from t2i.protocol.v1 import batch_service_pb2 as pb
from t2i.protocol.v1 import conditions_pb2

__all__ = ["MOST_A_PAGE", "STATE_NAMES", "digest_of", "read_create", "read_page"]

MAX_COUNT = 16
MOST_A_PAGE = 1000
_A_PAGE = 50
_ROWS_PER_SHARD = 1000
_MAX_TOKEN_CHARACTERS = 256

STATE_NAMES: dict[State, pb.BatchJobState.ValueType] = {
    state: pb.BatchJobState.Value(f"BATCH_JOB_STATE_{state.upper()}") for state in STATES
}
_STATES = {value: state for state, value in STATE_NAMES.items()}

T = TypeVar("T")


def digest_of(spec: pb.BatchJobSpec) -> bytes:
    """Return what a request is known again by when it comes twice."""
    return hashlib.sha256(spec.SerializeToString(deterministic=True)).digest()


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
        tried(lambda: _check_input(source, settings))
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
        spec.seed = secrets.randbelow(MAX_SEED + 1)
    for name, value, low, high in (
        ("rows_per_shard", spec.rows_per_shard, 1, MAX_ROWS_PER_SHARD),
        ("count", spec.count, 1, MAX_COUNT),
        ("seed", spec.seed, 0, MAX_SEED),
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


def _check_input(path: str, settings: JobSettings) -> None:
    found = find_input("spec.input_uri", path, settings.input_roots)
    try:
        input_format = format_of(found, None)
    except InvalidInput as error:
        raise InvalidInput(
            "spec.input_uri", path, error.problem, "give a .jsonl, .csv, .parquet or .txt file"
        ) from None
    if input_format == "parquet":
        try:
            parquet.check_installed()
        except ExtraMissing:
            raise InvalidInput(
                "spec.input_uri",
                path,
                "this server cannot read Parquet",
                "give a .jsonl, .csv or .txt file",
            ) from None


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
