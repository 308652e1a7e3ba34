"""The database of jobs: SQLite with a write-ahead log, so that what was told to a caller is kept.

Every method is one short transaction, brought to the disk before it returns, and may be called from
any thread. Each job has an owner, and every question but the runner's own names it: to anybody else
the job is not there.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from t2i.errors import InvalidInput

__all__ = [
    "ENDS",
    "STATES",
    "FolderTaken",
    "IdTaken",
    "Key",
    "State",
    "Store",
    "StoredJob",
    "TooManyJobs",
]

State = Literal["pending", "running", "succeeded", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
ENDS: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})

_FORMAT = 1
_FILE = "jobs.sqlite3"
_LOCK = ".lock"
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    digest BLOB NOT NULL,
    spec BLOB NOT NULL,
    input TEXT NOT NULL,
    output TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    checksum TEXT NOT NULL,
    state TEXT NOT NULL,
    stopping INTEGER NOT NULL DEFAULT 0,
    total_rows INTEGER NOT NULL DEFAULT 0,
    completed_rows INTEGER NOT NULL DEFAULT 0,
    failed_rows INTEGER NOT NULL DEFAULT 0,
    images INTEGER NOT NULL DEFAULT 0,
    total_shards INTEGER NOT NULL DEFAULT 0,
    completed_shards INTEGER NOT NULL DEFAULT 0,
    failures TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    created INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    PRIMARY KEY (owner, id)
) STRICT;
CREATE INDEX IF NOT EXISTS newest ON jobs (owner, created DESC, id DESC);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, created);
CREATE TABLE IF NOT EXISTS folders (
    path TEXT PRIMARY KEY,
    owner TEXT NOT NULL
) STRICT;
"""


class IdTaken(Exception):
    """The id was given to a job that is to do something else."""


class TooManyJobs(Exception):
    """The owner has as many jobs as may be under way."""


class FolderTaken(Exception):
    """The folder is another caller's, another job's, or lies in one of those.

    The text says which, in words that end a sentence.
    """


class Key(NamedTuple):
    """What a job is found by."""

    owner: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as the database holds it.

    Attributes:
        owner: whose it is; empty where callers have no names.
        id: a UUID of version 4.
        digest: of what was asked for, to know it again.
        spec: the serialized `BatchJobSpec`, defaults filled in.
        input: path of the rows, relative to a root.
        output: the folder, relative to its root, links resolved.
        model: name of the model.
        version: of the model.
        checksum: of the model.
        state: where it stands.
        stopping: whether it was asked to stop.
        total_rows: rows of the input; 0 until they are counted.
        completed_rows: rows of finished shards.
        failed_rows: those of them that could not be drawn.
        images: pictures in finished shards.
        total_shards: 0 until rows are counted.
        completed_shards: shards that are finished.
        failures: the file of failed rows, relative to the root of outputs; empty for none.
        reason: why it failed, for programs.
        message: why it failed, for people.
        created: nanoseconds since 1970, and so are the next.
        started: when the first row was drawn.
        ended: when it ended.
    """

    owner: str
    id: str
    digest: bytes
    spec: bytes
    input: str
    output: str
    model: str
    version: str
    checksum: str
    state: State = "pending"
    stopping: bool = False
    total_rows: int = 0
    completed_rows: int = 0
    failed_rows: int = 0
    images: int = 0
    total_shards: int = 0
    completed_shards: int = 0
    failures: str = ""
    reason: str = ""
    message: str = ""
    created: int = 0
    started: int | None = None
    ended: int | None = None

    @property
    def key(self) -> Key:
        """What it is found by."""
        return Key(self.owner, self.id)


class Store:
    """The jobs of a server.

    Args:
        folder: where the database is; it is made if need be.
        clock: nanoseconds since 1970.

    Raises:
        InvalidInput: another server uses the folder, it cannot be used, or it is of another
            version.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0
        self._held = _hold(folder)
        try:
            self._database = sqlite3.connect(
                folder / _FILE,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._database.row_factory = sqlite3.Row
            self._prepare()
        except sqlite3.Error as error:
            os.close(self._held)
            raise InvalidInput(
                "jobs", str(folder), f"{folder / _FILE} cannot be used ({error})", "name another"
            ) from error
        except BaseException:
            os.close(self._held)
            raise

    def close(self) -> None:
        """Let another server have the folder; closing twice is allowed."""
        with self._lock:
            self._database.close()
            if self._held >= 0:
                os.close(self._held)
            self._held = -1

    def add(self, job: StoredJob, *, per_owner: int) -> StoredJob:
        """Take a job in; return it, or the one that was added before under its id.

        Args:
            job: the new job; when it was created is filled in here.
            per_owner: jobs of its owner that may be under way, itself among them.

        Raises:
            IdTaken: the id is of a job with another digest.
            TooManyJobs: the owner has too many.
            FolderTaken: its folder cannot be had.
        """
        with self._transaction() as database:
            known = self._find(database, job.key)
            if known is not None:
                if known.digest != job.digest:
                    raise IdTaken
                return known
            active = database.execute(
                "SELECT count(*) FROM jobs WHERE owner = ? AND state IN ('pending', 'running')",
                (job.owner,),
            ).fetchone()[0]
            if active >= per_owner:
                raise TooManyJobs
            _take_folder(database, job)
            # Two jobs are never of the same moment: the order of a list must not change.
            self._last = max(self._clock(), self._last + 1)
            values = {name: getattr(job, name) for name in _NAMES} | {"created": self._last}
            database.execute(_INSERT, values)
            found = self._find(database, job.key)
            assert found is not None
            return found

    def find(self, key: Key) -> StoredJob | None:
        """Return a job, or None when its owner has none of this id."""
        with self._transaction() as database:
            return self._find(database, key)

    def page(
        self, owner: str, *, most: int, after: tuple[int, str] | None, state: State | None
    ) -> list[StoredJob]:
        """Return jobs of an owner, the newest first.

        Args:
            owner: whose.
            most: at most so many.
            after: time of creation and id of the last one of the page before.
            state: only these; None for all.
        """
        created, id = after or (2**63 - 1, "")
        with self._transaction() as database:
            rows = database.execute(
                "SELECT * FROM jobs WHERE owner = ? AND (created, id) < (?, ?) "
                "AND (? IS NULL OR state = ?) ORDER BY created DESC, id DESC LIMIT ?",
                (owner, created, id, state, state, most),
            ).fetchall()
        return [_job(row) for row in rows]

    def waiting(self) -> list[Key]:
        """Return the jobs that wait for a worker, the oldest first."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT owner, id FROM jobs WHERE state = 'pending' ORDER BY created"
            ).fetchall()
        return [Key(row["owner"], row["id"]) for row in rows]

    def states(self) -> dict[State, int]:
        """Return how many jobs of all owners are in each state."""
        with self._transaction() as database:
            rows = database.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall()
        found = {cast("State", state): cast("int", count) for state, count in rows}
        return {state: found.get(state, 0) for state in STATES}

    def recover(self) -> int:
        """Let jobs wait that a server was at when it ended, and return how many wait.

        Those that were asked to stop are ended.
        """
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ? "
                "WHERE stopping AND state IN ('pending', 'running')",
                (self._clock(),),
            )
            database.execute("UPDATE jobs SET state = 'pending' WHERE state = 'running'")
            (count,) = database.execute(
                "SELECT count(*) FROM jobs WHERE state = 'pending'"
            ).fetchone()
        return cast("int", count)

    def begin(self, key: Key) -> StoredJob | None:
        """Have a waiting job run; None when it waits no more."""
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE jobs SET state = 'running' WHERE owner = ? AND id = ? "
                "AND state = 'pending'",
                key,
            ).rowcount
            return self._find(database, key) if changed else None

    def give_back(self, key: Key) -> None:
        """Let a running job wait again."""
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET state = 'pending' WHERE owner = ? AND id = ? "
                "AND state = 'running'",
                key,
            )

    def cancel(self, key: Key) -> StoredJob | None:
        """Ask a job to stop; one that waits ends at once. None when there is no such job."""
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET stopping = 1 WHERE owner = ? AND id = ? "
                "AND state IN ('pending', 'running')",
                key,
            )
            database.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ? WHERE owner = ? AND id = ? "
                "AND state = 'pending'",
                (self._clock(), *key),
            )
            return self._find(database, key)

    def progress(self, key: Key, counts: Mapping[str, int]) -> None:
        """Take note of how far a running job has come.

        A run that goes through shards of an earlier one is behind what is known: that stays.

        Args:
            key: the job.
            counts: columns and their values, `completed_shards` among them.
        """
        names = ", ".join(f"{name} = :{name}" for name in _checked(counts))
        with self._transaction() as database:
            database.execute(
                f"UPDATE jobs SET {names}, started = coalesce(started, :now) "
                "WHERE owner = :owner AND id = :id AND state = 'running' "
                "AND completed_shards <= :completed_shards",
                {**counts, "now": self._clock(), "owner": key.owner, "id": key.id},
            )

    def end(
        self,
        key: Key,
        state: State,
        *,
        counts: Mapping[str, int] | None = None,
        failures: str = "",
        reason: str = "",
        message: str = "",
    ) -> None:
        """End a running job."""
        names = "".join(f"{name} = :{name}, " for name in _checked(counts or {}))
        with self._transaction() as database:
            database.execute(
                f"UPDATE jobs SET {names}state = :state, failures = :failures, reason = :reason, "
                "message = :message, ended = :now "
                "WHERE owner = :owner AND id = :id AND state = 'running'",
                {
                    **(counts or {}),
                    "state": state,
                    "failures": failures,
                    "reason": reason,
                    "message": message,
                    "now": self._clock(),
                    "owner": key.owner,
                    "id": key.id,
                },
            )

    def forget(self, days: float) -> int:
        """Forget jobs that ended longer ago than so many days; return how many.

        Whose their folders are is remembered: the files are still there.
        """
        oldest = self._clock() - int(days * 86_400e9)
        with self._transaction() as database:
            return database.execute("DELETE FROM jobs WHERE ended < ?", (oldest,)).rowcount

    def _prepare(self) -> None:
        mode = self._database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"its file system has no write-ahead log ({mode})")
        # Of the log every commit is brought to the disk, not only what a checkpoint copies.
        self._database.execute("PRAGMA synchronous = FULL")
        found = self._database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            raise sqlite3.OperationalError(f"it is of format {found}, not {_FORMAT}")
        self._database.executescript(_SCHEMA)
        self._database.execute(f"PRAGMA user_version = {_FORMAT}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk can stop the commit itself, which may have rolled back by then.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @staticmethod
    def _find(database: sqlite3.Connection, key: Key) -> StoredJob | None:
        row = database.execute("SELECT * FROM jobs WHERE owner = ? AND id = ?", key).fetchone()
        return None if row is None else _job(row)


_NAMES = tuple(StoredJob.__dataclass_fields__)
_COUNTS = frozenset(
    {
        "total_rows",
        "completed_rows",
        "failed_rows",
        "images",
        "total_shards",
        "completed_shards",
    }
)
_INSERT = f"INSERT INTO jobs ({', '.join(_NAMES)}) VALUES ({', '.join(f':{n}' for n in _NAMES)})"


def _checked(names: Iterable[str]) -> list[str]:
    """Return names of columns; they become part of a statement."""
    found = list(names)
    assert _COUNTS.issuperset(found), found
    return found


def _job(row: sqlite3.Row) -> StoredJob:
    values = dict(row)
    return StoredJob(**{**values, "stopping": bool(values["stopping"])})


def _take_folder(database: sqlite3.Connection, job: StoredJob) -> None:
    parents = [str(parent) for parent in Path(job.output).parents][:-1]
    for path in (job.output, *parents):
        row = database.execute("SELECT owner FROM folders WHERE path = ?", (path,)).fetchone()
        if row is None:
            continue
        if row["owner"] != job.owner:
            raise FolderTaken("is another caller's")
        if path != job.output:
            raise FolderTaken("lies in the folder of another job")
    below = database.execute(
        "SELECT 1 FROM folders WHERE substr(path, 1, ?) = ? LIMIT 1",
        (len(job.output) + 1, job.output + "/"),
    ).fetchone()
    if below is not None:
        raise FolderTaken("holds the folders of other jobs")
    busy = database.execute(
        "SELECT 1 FROM jobs WHERE output = ? AND state IN ('pending', 'running')", (job.output,)
    ).fetchone()
    if busy is not None:
        raise FolderTaken("is being written to by a job that has not ended")
    database.execute(
        "INSERT OR IGNORE INTO folders (path, owner) VALUES (?, ?)", (job.output, job.owner)
    )


def _hold(folder: Path) -> int:
    """Keep other servers out of a folder, for as long as the descriptor is open."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Who has which jobs is nobody else's business; SQLite gives its log the same rights.
        os.close(os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise InvalidInput(
            "jobs", str(folder), f"{folder} cannot be used ({error.strerror})", "name another"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InvalidInput(
            "jobs", str(folder), f"another server runs the jobs of {folder}", "name another folder"
        ) from None
    return descriptor
