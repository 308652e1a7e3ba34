from __future__ import annotations

import pytest

from t2i.client.errors import (
    DeadlineExceededError,
    InternalError,
    NotFoundError,
    UnavailableError,
)
from t2i.client.jobs import WatchState, create_request, id_of, job_from_message, list_request
from t2i.errors import InvalidInput
from t2i.protocol.v1 import batch_service_pb2 as pb

GIVEN = {
    "model": None,
    "rows_per_shard": None,
    "count": None,
    "seed": None,
    "truncation": 1.0,
    "conditioning_truncation": 1.0,
    "format": None,
    "input_format": None,
    "best_of": None,
    "request_id": None,
}


def message(
    state: pb.BatchJobState.ValueType = pb.BATCH_JOB_STATE_RUNNING, rows: int = 0
) -> pb.WatchBatchJobResponse:
    return pb.WatchBatchJobResponse(job=pb.BatchJob(id="1", state=state, completed_rows=rows))


def test_a_watch_tells_changes_once_through_any_number_of_calls() -> None:
    state = WatchState(60)
    assert state.receive(message()) is not None
    for rows in (0, 5):
        state.wait_after(UnavailableError("gone"))
        assert (state.receive(message(rows=rows)) is None) == (rows == 0)
    with pytest.raises(InternalError):
        state.check_ended()
    assert not state.has_ended
    state.receive(message(pb.BATCH_JOB_STATE_FAILED))
    state.check_ended()


def test_a_quiet_call_is_made_anew_at_once_and_a_dead_one_uses_up_patience() -> None:
    state = WatchState(60)
    state.receive(message())
    assert state.wait_after(DeadlineExceededError("quiet")) == 0
    with pytest.raises(DeadlineExceededError):
        state.wait_after(DeadlineExceededError("heard nothing"))


def test_patience_is_for_a_service_that_is_away_and_begins_anew_with_each_word_of_it() -> None:
    state = WatchState(0.6)
    for _ in range(3):
        state.receive(message())
        assert 0 < state.wait_after(UnavailableError("gone")) <= 0.5
    with pytest.raises(UnavailableError):
        state.wait_after(UnavailableError("still gone"))
    with pytest.raises(NotFoundError):
        WatchState(60).wait_after(NotFoundError("no such job"))


def test_a_state_of_a_newer_service_is_unspecified_and_no_end() -> None:
    job = job_from_message(message(99).job)  # type: ignore[arg-type]
    assert job.state == "unspecified"
    assert not job.has_ended


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 1),
        ("rows_per_shard", 0),
        ("count", 17),
        ("count", True),
        ("seed", -1),
        ("truncation", float("nan")),
        ("request_id", 7),
    ],
)
def test_what_no_message_can_hold_is_refused_at_once(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as error:
        create_request("a.jsonl", "b", **{**GIVEN, field: value})  # type: ignore[arg-type]
    assert error.value.field == field
    with pytest.raises(InvalidInput):
        create_request("", "b", **GIVEN)  # type: ignore[arg-type]


def test_every_creation_has_an_id_so_that_it_can_be_repeated() -> None:
    ids = {create_request("a", "b", **GIVEN).request_id for _ in range(2)}  # type: ignore[arg-type]
    assert len(ids) == 2
    assert "" not in ids


def test_jobs_are_named_by_themselves_or_their_id() -> None:
    job = job_from_message(message().job)
    assert id_of(job) == id_of("1") == "1"
    for wrong in ("", 1):
        with pytest.raises(InvalidInput):
            id_of(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="give one of pending"):
        list_request("done")  # type: ignore[arg-type]
