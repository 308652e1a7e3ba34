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

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from t2i.batch.errors import BatchError, JobChanged
from t2i.batch.formats import INPUT_FORMATS
from t2i.batch.plan import Plan
from t2i.batch.records import Survey
from t2i.batch.shard import ShardReport, record_name, report_of
from t2i.batch.storage import Storage, write
from t2i.batch.writers import shard_name
from t2i.errors import shown

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
        storage: the folder; it is made if need be.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._there: frozenset[str] = frozenset()

    @contextmanager
    def locked(self) -> Iterator[Callable[[], None]]:
        """Keep other runs out while the block runs; gives what raises if they got in all the same.

        Raises:
            FolderBusy: if another run is at work here.
            BatchError: if the folder is of something else.
            OSError: if the folder cannot be made or written to.
        """
        self._refuse_foreign()
        with self.storage.locked(LOCK) as check:
            self.clear_temporary()
            yield check

    def clear(self) -> None:
        """Remove all that an earlier job left here, and nothing else."""
        # Records before shards: what is told to be finished must be there. The job last: until
        # then it tells truly of which job the rest is.
        for name in (*MANIFESTS, FAILURES, SHEET, *reversed(_OWN_FOLDERS), JOB):
            self.storage.remove(name)

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
                    f"{self._path}: the pictures here are of another job: {', '.join(changed)}; "
                    "give another --out, or --restart to remove them and begin anew"
                )
        if known is None:
            self.clear()
            with write(self.storage, JOB) as file:
                file.write(json.dumps(fresh, indent=2).encode() + b"\n")
        # Once for all shards: to ask for each takes long where every question is a journey.
        self._there = frozenset(
            f"{folder}/{name}" for folder in _OWN_FOLDERS for name in self.storage.names(folder)
        )

    def finished(self, plan: Plan, number: int, name: str) -> ShardReport | None:
        """Return the report of a shard that need not be drawn again."""
        if not {record_name(number), shard_name(name, plan.format)} <= self._there:
            return None
        try:
            return report_of(self.storage, number)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, IndexError):
            # Nothing of ours writes half a record: draw what somebody else has damaged again.
            return None

    def manifest(self) -> Path | str | None:
        """Return where the manifest is; None while the job is not finished."""
        return self.place_of(*MANIFESTS)

    def place_of(self, *names: str) -> Path | str | None:
        """Return where the first of some files is that is there; None if none is."""
        there = self.storage.names()
        return next((self.storage.place(name) for name in names if name in there), None)

    @property
    def _path(self) -> Path | str:
        return self.storage.place()

    def _known(self) -> Mapping[str, object] | None:
        if JOB not in self.storage.names():
            return None
        known = self._job()
        if known.get("format") != FORMAT:
            raise BatchError(
                f"{self.storage.place(JOB)}: is not of this version of t2i; give another --out, or "
                "--restart to remove what is here and begin anew"
            )
        return known

    def _job(self) -> Mapping[str, object]:
        try:
            known = json.loads(self.storage.read(JOB))
        except ValueError:
            return {}
        return known if isinstance(known, dict) else {}

    def _refuse_foreign(self) -> None:
        """Refuse a folder that holds something, but no job: it may be dear to somebody."""
        try:
            names = self.storage.names()
        except NotADirectoryError:
            raise BatchError(f"{self._path}: is a file; give a folder as --out") from None
        if JOB in names:
            if {"input", "model", "options"} <= self._job().keys():
                return
            raise BatchError(f"{self.storage.place(JOB)}: is of no batch job; give another --out")
        # Of a run that was killed before it took note of its job there is at least the lock.
        own = {LOCK, FAILURES, SHEET, *MANIFESTS, *_OWN_FOLDERS}
        foreign = {name for name in names - own if not name.startswith(("input.", "."))}
        if names and (foreign or LOCK not in names):
            raise BatchError(
                f"{self._path}: holds {shown(min(foreign or names))} and no batch job; give an "
                "empty folder, or one that is not there yet"
            )

    def clear_temporary(self) -> None:
        """Remove what those had begun who were killed; only while nobody draws."""
        inputs = (f"input.{name}" for name in INPUT_FORMATS)
        self.storage.abandon((JOB, FAILURES, SHEET, *MANIFESTS, *_OWN_FOLDERS, *inputs))
        for folder in ("", *_OWN_FOLDERS):
            for name in self.storage.names(folder):
                if name.startswith(".") and name.endswith(".tmp"):
                    self.storage.remove(f"{folder}/{name}" if folder else name)


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
