from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.jobs.store import FolderTaken, IdTaken, Key, Store, StoredJob, TooManyJobs
from t2i.errors import InvalidInput

DAY = 86_400 * 10**9


class Clock:
    now = 1_000 * DAY

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "jobs", clock=clock)
    yield store
    store.close()


def job(output: str = "birds", owner: str = "anna", digest: bytes = b"1") -> StoredJob:
    return StoredJob(
        owner=owner,
        id=str(uuid.uuid4()),
        digest=digest,
        spec=b"",
        input="birds.jsonl",
        output=output,
        model="m",
        version="1",
        checksum="0",
    )


def test_what_was_added_is_there_when_the_store_is_opened_again(
    store: Store, tmp_path: Path
) -> None:
    added = store.add(job(), per_owner=9)
    begun = store.add(job("b"), per_owner=9)
    stopped = store.add(job("c"), per_owner=9)
    for each in (begun, stopped):
        store.begin(each.key)
    store.progress(begun.key, {"completed_shards": 2, "completed_rows": 20})
    store.cancel(stopped.key)
    store.close()
    again = Store(tmp_path / "jobs")
    assert again.recover() == 2
    assert again.waiting() == [added.key, begun.key]
    found = again.find(begun.key)
    assert found is not None
    assert (found.state, found.completed_rows) == ("pending", 20)
    ended = again.find(stopped.key)
    assert ended is not None
    assert ended.state == "cancelled"
    again.close()


def test_one_server_at_a_time_has_a_folder(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="another server"):
        Store(tmp_path / "jobs")
    store.close()
    Store(tmp_path / "jobs").close()


def test_its_files_are_nobody_elses_business(store: Store, tmp_path: Path) -> None:
    store.add(job(), per_owner=9)
    rights = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "jobs").iterdir()}
    assert set(rights.values()) == {0}, rights
    assert (tmp_path / "jobs").stat().st_mode & 0o077 == 0


def test_a_database_of_another_format_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    database = sqlite3.connect(tmp_path / "jobs" / "jobs.sqlite3")
    database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(InvalidInput, match="format 9"):
        Store(tmp_path / "jobs")
    (tmp_path / "jobs" / "jobs.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(InvalidInput, match="cannot be used"):
        Store(tmp_path / "jobs")


def test_an_id_is_one_jobs_and_owners_have_their_own(store: Store) -> None:
    first = store.add(job(), per_owner=9)
    assert store.add(first, per_owner=9) == first
    with pytest.raises(IdTaken):
        store.add(replace(first, digest=b"2"), per_owner=9)
    others = replace(first, owner="bert", output="b")
    assert store.add(others, per_owner=9).owner == "bert"
    assert store.find(Key("bert", str(uuid.uuid4()))) is None


def test_a_folder_is_one_owners_for_ever_and_one_jobs_at_a_time(store: Store, clock: Clock) -> None:
    first = store.add(job("a/b"), per_owner=9)
    for output, words in (("a/b", "not ended"), ("a/b/c", "another job"), ("a", "other jobs")):
        with pytest.raises(FolderTaken, match=words):
            store.add(job(output), per_owner=9)
    with pytest.raises(FolderTaken, match="another caller's"):
        store.add(job("a/b", owner="bert"), per_owner=9)
    store.add(job("a/bc"), per_owner=9)
    store.cancel(first.key)
    clock.now += 2 * DAY
    assert store.forget(1) == 1
    assert store.find(first.key) is None
    with pytest.raises(FolderTaken, match="another caller's"):
        store.add(job("a/b", owner="bert"), per_owner=9)
    store.add(job("a/b"), per_owner=9)


def test_only_jobs_that_have_not_ended_count(store: Store) -> None:
    first = store.add(job("0"), per_owner=1)
    with pytest.raises(TooManyJobs):
        store.add(job("1"), per_owner=1)
    store.add(job("2", owner="bert"), per_owner=1)
    store.begin(first.key)
    with pytest.raises(TooManyJobs):
        store.add(job("1"), per_owner=1)
    store.end(first.key, "succeeded")
    store.add(job("1"), per_owner=1)


def test_a_refused_job_leaves_nothing_behind(store: Store) -> None:
    store.add(job("0"), per_owner=1)
    with pytest.raises(TooManyJobs):
        store.add(job("1"), per_owner=1)
    store.add(job("1", owner="bert"), per_owner=1)


def test_progress_never_goes_back_and_ends_are_ends(store: Store) -> None:
    key = store.add(job(), per_owner=9).key
    assert store.begin(key) is not None
    assert store.begin(key) is None
    store.progress(key, {"completed_shards": 5, "completed_rows": 50})
    store.progress(key, {"completed_shards": 1, "completed_rows": 10})
    store.end(key, "failed", reason="X", message="because")
    store.end(key, "succeeded")
    store.cancel(key)
    store.progress(key, {"completed_shards": 9})
    found = store.find(key)
    assert found is not None
    assert (found.state, found.completed_rows, found.reason) == ("failed", 50, "X")
    assert not found.stopping
