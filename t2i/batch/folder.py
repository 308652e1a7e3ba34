"""The folder of a job: what it is of, what is finished, and who is at work in it.

```
job.json            input, model and options that the pictures are of
shards/             the pictures
records/            a file for each finished shard: its failures and its pictures
manifest.parquet    where every picture is and what it is (or manifest.jsonl)
failures.jsonl      rows that could not be drawn
sheet.png           some of the pictures
input.*             what came from standard input
```
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from t2i.batch.errors import BatchError, FolderBusy, JobChanged
from t2i.batch.plan import Plan
from t2i.batch.records import Survey
from t2i.batch.shard import ShardReport, record_path, report_of
from t2i.batch.writers import shard_path
from t2i.errors import shown
from t2i.files import durable_file

__all__ = ["FAILURES", "JOB", "MANIFESTS", "SHEET", "JobFolder"]

FORMAT = 1
JOB = "job.json"
LOCK = ".lock"
FAILURES = "failures.jsonl"
MANIFESTS = ("manifest.parquet", "manifest.jsonl")
SHEET = "sheet.png"
_OWN_FOLDERS = ("shards", "records")


class JobFolder:
    """A job's folder, for the one run that holds its lock.

    Args:
        path: the folder; it is made if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out while the block runs.

        The lock is the operating system's and ends with the process, however that ends, so there
        is none of a dead one to be cleared away.

        Raises:
            FolderBusy: if another run is at work here.
            BatchError: if the folder is of something else.
            OSError: if the folder cannot be made or written to.
        """
        self._refuse_foreign()
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
                raise FolderBusy(
                    f"{self.path}: another run is at work here ({who or 'of an unknown process'}); "
                    "wait for it, stop it, or give another --out"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            self._clear_temporary()
            yield
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Remove all that an earlier job left here, and nothing else."""
        for name in (*MANIFESTS, FAILURES, SHEET):
            (self.path / name).unlink(missing_ok=True)
        # Records before shards: what is told to be finished must be there.
        for name in reversed(_OWN_FOLDERS):
            if (self.path / name).is_dir():
                shutil.rmtree(self.path / name)
        # Last: until then it tells truly of which job the rest is.
        (self.path / JOB).unlink(missing_ok=True)

    def begin(self, plan: Plan, survey: Survey) -> None:
        """Take note of what the pictures are of, or check that it is what it was.

        Raises:
            JobChanged: if it is not; names what has changed.
        """
        fresh = _fingerprint(plan, survey)
        known = self._known()
        if known is not None:
            changed = list(_changes(known, fresh))
            if changed:
                raise JobChanged(
                    f"{self.path}: the pictures here are of another job: {', '.join(changed)}; "
                    "give another --out, or --restart to remove them and begin anew"
                )
        if known is None:
            self.clear()
        for name in _OWN_FOLDERS:
            (self.path / name).mkdir(exist_ok=True)
        if known is None:
            with durable_file(self.path / JOB) as file:
                file.write(json.dumps(fresh, indent=2).encode() + b"\n")

    def finished(self, plan: Plan, number: int, name: str) -> ShardReport | None:
        """Return the report of a shard that need not be drawn again."""
        try:
            report = report_of(record_path(self.path, number))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, IndexError):
            # Nothing of ours writes half a record: draw what somebody else has damaged again.
            return None
        return report if shard_path(self.path, name, plan.format).exists() else None

    def _known(self) -> Mapping[str, object] | None:
        if not (self.path / JOB).exists():
            return None
        known = self._job()
        if known.get("format") != FORMAT:
            raise BatchError(
                f"{self.path / JOB}: is not of this version of t2i; give another --out, or "
                "--restart to remove what is here and begin anew"
            )
        return known

    def _job(self) -> Mapping[str, object]:
        try:
            known = json.loads((self.path / JOB).read_bytes())
        except ValueError:
            return {}
        return known if isinstance(known, dict) else {}

    def _refuse_foreign(self) -> None:
        """Refuse a folder that holds something, but no job: it may be dear to somebody."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise BatchError(f"{self.path}: is a file; give a folder as --out")
        names = {path.name for path in self.path.iterdir()}
        if JOB in names:
            if {"input", "model", "options"} <= self._job().keys():
                return
            raise BatchError(f"{self.path / JOB}: is of no batch job; give another --out")
        # Of a run that was killed before it took note of its job there is at least the lock.
        own = {LOCK, FAILURES, SHEET, *MANIFESTS, *_OWN_FOLDERS}
        foreign = {name for name in names - own if not name.startswith(("input.", "."))}
        if names and (foreign or LOCK not in names):
            raise BatchError(
                f"{self.path}: holds {shown(min(foreign or names))} and no batch job; give an "
                "empty folder, or one that is not there yet"
            )

    def _clear_temporary(self) -> None:
        """Remove what killed runs had begun."""
        for folder in (self.path, *(self.path / name for name in _OWN_FOLDERS)):
            for path in folder.glob(".*.tmp"):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _fingerprint(plan: Plan, survey: Survey) -> dict[str, object]:
    return {
        "format": FORMAT,
        "input": {
            "sha256": survey.sha256,
            "bytes": survey.size,
            "format": plan.input_format,
        },
        "model": {
            "name": plan.model.name,
            "version": plan.model.version,
            "checksum": plan.model.checksum,
        },
        "options": plan.options,
    }


def _changes(known: Mapping[str, object], fresh: Mapping[str, object]) -> Iterator[str]:
    """Return in words what differs."""
    for part, values in fresh.items():
        before = known.get(part)
        if before == values:
            continue
        if part == "options" and isinstance(values, dict) and isinstance(before, dict):
            for name, value in values.items():
                if before.get(name) != value:
                    option = name.replace("_", "-")
                    yield f"--{option} was {before.get(name)} and is {value}"
        elif part == "model" and isinstance(values, dict) and isinstance(before, dict):
            yield f"the model was {_model(before)} and is {_model(values)}"
        else:
            yield f"the {part} has changed"


def _model(values: Mapping[str, object]) -> str:
    return f"{values.get('name')} {str(values.get('checksum'))[:12]}"
