"""A whole job: every row of an input drawn once, through interruptions of any kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Protocol

from t2i.batch import parquet
from t2i.batch.drawers import Drawer, ShardDrawer, by_shards
from t2i.batch.errors import BatchError
from t2i.batch.folder import FAILURES, SHEET, JobFolder
from t2i.batch.formats import InputFormat, ShardFormat
from t2i.batch.plan import Plan, Shard, shards
from t2i.batch.records import Record, Survey, read_records, spool, survey
from t2i.batch.reports import write_failures, write_manifest, write_sheet
from t2i.batch.shard import ShardReport, ShardTask
from t2i.batch.storage import File, Storage, file_of, is_address, storage_of
from t2i.errors import InvalidInput, shown

__all__ = ["Job", "Progress", "Summary", "run_job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to draw and where to.

    Args:
        source: the input: a path, an address of fsspec, or a stream, of which a copy is kept in
            the folder.
        input_format: how its rows are written.
        out: the job's folder: a path, or an address of fsspec.
        format: as in `Plan`, and so are the others.
        rows_per_shard: see there.
        count: see there.
        seed: see there.
        truncation: see there.
        conditioning_truncation: see there.
        best_of: see there.
        restart: whether to remove what an earlier job left in the folder.
    """

    source: Path | str | BinaryIO
    input_format: InputFormat
    out: Path | str
    format: ShardFormat = "webdataset"
    rows_per_shard: int = 1000
    count: int = 1
    seed: int = 0
    truncation: float = 1.0
    conditioning_truncation: float = 1.0
    best_of: int = 1
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a job.

    Attributes:
        out: its folder, a path or an address, as are the other places.
        rows: rows of the input.
        failed: rows that could not be drawn.
        pictures: pictures of all rows.
        shards: shards of all rows.
        drawn_pictures: pictures drawn in this run; the others were there.
        seconds: of this run, from the first picture on.
        manifest: file that tells where each picture is.
        failures: file that tells why rows could not be drawn, or None.
        sheet: some of the pictures, or None when there are none.
        passed_over: columns of the input that mean nothing to a job.
    """

    out: Path | str
    rows: int
    failed: int
    pictures: int
    shards: int
    drawn_pictures: int
    seconds: float
    manifest: Path | str
    failures: Path | str | None
    sheet: Path | str | None
    passed_over: tuple[str, ...]

    @property
    def pictures_per_second(self) -> float:
        """How fast this run drew."""
        return self.drawn_pictures / self.seconds if self.drawn_pictures else 0.0


class Progress(Protocol):
    """Is told how far a job has come; called by several threads. What it raises stops the job."""

    def begin(self, rows: int) -> None:
        """The input has so many rows, or a few less."""

    def found(self, report: ShardReport) -> None:
        """A shard had been completed by an earlier run."""

    def drawn(self, rows: int, pictures: int) -> None:
        """So many more rows and pictures are done."""

    def finished(self, report: ShardReport) -> None:
        """A shard is complete, by this run."""


class _Silence:
    def begin(self, rows: int) -> None:
        """Say nothing."""

    def found(self, report: ShardReport) -> None:
        """Say nothing."""

    def drawn(self, rows: int, pictures: int) -> None:
        """Say nothing."""

    def finished(self, report: ShardReport) -> None:
        """Say nothing."""


def run_job(
    job: Job, open_drawer: Callable[[], Drawer | ShardDrawer], *, progress: Progress | None = None
) -> Summary:
    """Draw what is not drawn yet, and tell about all of it.

    Args:
        job: what to draw.
        open_drawer: makes what draws; called when it is known that nobody else is at work here.
        progress: is told how far the job has come.

    Raises:
        FolderBusy: if another run is at work in the folder.
        JobChanged: if the folder holds pictures of another input, model or other options.
        T2IError: if the input as a whole cannot be read, or the model cannot draw.
        OSError: if a file cannot be read or written; what is finished is kept.
    """
    storage = storage_of(job.out)
    folder = JobFolder(storage)
    progress = progress or _Silence()
    if "parquet" in (job.format, job.input_format):
        parquet.check_installed()
    if isinstance(job.source, str) and is_address(job.source):
        _check_there(job.source)
    with folder.locked() as check, _source(job, storage) as (source, keep):
        with ThreadPoolExecutor(1, thread_name_prefix="t2i-survey") as reading:
            # Reading a long input and loading a model take seconds each: both at once.
            surveyed = reading.submit(survey, source, job.input_format)
            drawer = by_shards(open_drawer())
        try:
            return _run(job, folder, source, keep, surveyed.result(), drawer, progress, check)
        finally:
            drawer.close()


def _check_there(address: str) -> None:
    try:
        file_of(address).stamp()
    except FileNotFoundError as error:
        told = f"there is no file {shown(address)}"
        raise InvalidInput("input", address, told, "check the address") from error


@contextmanager
def _source(job: Job, storage: Storage) -> Iterator[tuple[File, Callable[[], None]]]:
    """Give the input's file, and what gives its copy a name when the rows are known to fit."""
    if isinstance(job.source, Path | str):
        yield file_of(job.source), _is_kept
        return
    with storage.draft(f"input.{job.input_format}") as draft:
        spool(job.source, draft.path)
        yield file_of(draft.path), draft.keep


def _is_kept() -> None:
    """Do nothing: a file has its name."""


def _run(
    job: Job,
    folder: JobFolder,
    source: File,
    keep: Callable[[], None],
    surveyed: Survey,
    drawer: ShardDrawer,
    progress: Progress,
    check: Callable[[], None],
) -> Summary:
    plan = Plan(
        model=drawer.model,
        input_format=job.input_format,
        format=job.format,
        rows_per_shard=job.rows_per_shard,
        count=job.count,
        seed=job.seed,
        truncation=job.truncation,
        conditioning_truncation=job.conditioning_truncation,
        best_of=job.best_of,
    )
    before = source.stamp()
    # The first row before the first note: an input that cannot be read leaves no job behind.
    records = _peeked(read_records(source, job.input_format))
    if job.restart:
        # Not before input and model are there: pictures are not removed for a typing error.
        folder.clear()
    folder.begin(plan, surveyed)
    keep()
    progress.begin(surveyed.rows)
    began = time.perf_counter()
    found, drawn = _draw_missing(plan, folder, records, drawer, progress, check)
    seconds = time.perf_counter() - began
    if keep is _is_kept and source.stamp() != before:
        raise BatchError(
            f"{source}: was changed while its rows were drawn; leave it alone, and begin anew with "
            "--restart"
        )
    reports = sorted([*found, *drawn], key=lambda report: report.shard)
    manifest = None if drawn else folder.manifest()
    check()
    if manifest is None:
        out = folder.storage
        failures, sheet = write_failures(out, reports), write_sheet(out, reports)
        # Last: where there is a manifest, all else is there.
        manifest = write_manifest(out, reports)
    else:
        failures, sheet = folder.place_of(FAILURES), folder.place_of(SHEET)
    return Summary(
        out=folder.storage.place(),
        rows=sum(report.rows for report in reports),
        failed=sum(report.failed for report in reports),
        pictures=sum(report.pictures for report in reports),
        shards=len(reports),
        drawn_pictures=sum(report.pictures for report in drawn),
        seconds=seconds,
        manifest=manifest,
        failures=failures,
        sheet=sheet,
        passed_over=tuple(sorted({name for report in reports for name in report.passed_over})),
    )


def _peeked(records: Iterator[Record]) -> Iterator[Record]:
    first = next(records, None)
    return iter(()) if first is None else chain([first], records)


def _draw_missing(
    plan: Plan,
    folder: JobFolder,
    records: Iterator[Record],
    drawer: ShardDrawer,
    progress: Progress,
    check: Callable[[], None],
) -> tuple[list[ShardReport], list[ShardReport]]:
    """Return the reports of the shards that were there, and of those that were drawn."""
    found: list[ShardReport] = []
    drawn: list[ShardReport] = []
    under_way: set[Future[ShardReport]] = set()
    stop = threading.Event()

    def stopped() -> bool:
        check()
        return stop.is_set()

    def draw(shard: Shard) -> ShardReport:
        report = drawer.draw_shard(ShardTask(plan, shard, folder.storage, progress.drawn, stopped))
        progress.finished(report)
        return report

    at_once = drawer.shards_at_once
    with ThreadPoolExecutor(at_once, thread_name_prefix="t2i-shard") as pool:
        try:
            for shard in shards(records, plan.rows_per_shard):
                report = folder.finished(plan, shard.number, shard.name)
                if report is not None:
                    found.append(report)
                    progress.found(report)
                    continue
                if len(under_way) == at_once:
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    drawn += [future.result() for future in done]
                under_way.add(pool.submit(draw, shard))
            drawn += [future.result() for future in under_way]
        except BaseException:
            # The other shards are given up as well: they are drawn again by the next run.
            stop.set()
            drawer.close()
            raise
    if drawn:
        # Workers of the drawer may have been killed over a draft; nobody draws any more.
        check()
        folder.clear_temporary()
    return found, drawn
