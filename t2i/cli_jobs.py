"""The commands `t2i jobs ...`: batch jobs that a service runs by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import click

from t2i.batch.formats import InputFormat, ShardFormat
from t2i.cli_options import json_option, row_options, shard_options
from t2i.errors import T2IError
from t2i.seeds import LARGEST_SEED

if TYPE_CHECKING:
    from t2i.client import BatchJob, BatchJobState, Client

__all__ = ["jobs"]

_SOME_FAILED = 1
_NOT_ASKED = 2
_JOB_FAILED = 3
_JOB_CANCELLED = 4
_STATES = ("pending", "running", "succeeded", "failed", "cancelled")
_PATIENCE_S = 300.0


class _NotAsked(click.ClickException):
    """One line on standard error and exit code 2."""

    exit_code = _NOT_ASKED


_server_option = click.option(
    "--server",
    metavar="ADDRESS",
    help="The service. Token and certificate come from T2I_TOKEN and T2I_CA.  [default: "
    "T2I_ADDRESS, else 127.0.0.1:50051]",
)
_patience_option = click.option(
    "--patience",
    default=_PATIENCE_S,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to wait for a service that is away, when a job is watched.",
)


@click.group(context_settings={"show_default": True})
def jobs() -> None:
    """Have a service run batch jobs, and see how far they are.

    Captions and pictures stay on the service's side, in folders that its operator named (t2i-serve
    --jobs). You may leave meanwhile, and the service may be started again: jobs go on. To draw a
    file of your own, here or on a service, use t2i batch.

    \b
    Start a job and wait for its end:
        t2i jobs create captions.jsonl birds --watch
    Start one, look later, stop it:
        id=$(t2i jobs create captions.jsonl birds)
        t2i jobs show $id
        t2i jobs cancel $id
    What runs now:
        t2i jobs list --state running

    \b
    Exit codes:
        0  done; of create --watch and watch: every row is drawn
        1  the job is done, but some rows could not be drawn
        2  wrong use, no such job, or a service that cannot be asked
        3  the job failed
        4  the job was cancelled
    """  # noqa: D301 - \b keeps click from filling the examples


@jobs.command()
@click.argument("input")
@click.argument("output")
@shard_options
@click.option(
    "--count", default=1, type=click.IntRange(1, 16), help="Pictures of a row that does not tell."
)
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    help="Rows without a seed have theirs from this one and their id.  [default: the service "
    "chooses, and tells]",
)
@row_options
@click.option("--model", metavar="NAME", help="A model of the service.  [default: its own]")
@click.option(
    "--id",
    "request_id",
    metavar="UUID",
    help="The job's id; asked again with it, the same job is told and none is begun.  [default: "
    "a new one]",
)
@click.option("--watch", "watched", is_flag=True, help="Wait for the end, as t2i jobs watch does.")
@_patience_option
@_server_option
@json_option
def create(
    input: str,
    output: str,
    input_format: str | None,
    shard_format: str,
    rows_per_shard: int,
    count: int,
    seed: int | None,
    truncation: float,
    conditioning_truncation: float,
    best_of: int,
    model: str | None,
    request_id: str | None,
    watched: bool,
    patience: float,
    server: str | None,
    as_json: bool,
) -> None:
    """Start a job that draws the rows of INPUT into shards in OUTPUT.

    Both are paths below folders of the service. The job's id goes to standard output, or with
    --watch what became of the job. An OUTPUT with shards of the same job is gone on with.

    \b
        t2i jobs create captions.jsonl birds --watch
        t2i jobs create rows/captions.csv birds/parquet --format parquet --count 4 --seed 7
    """  # noqa: D301 - \b keeps click from filling the examples
    with _asking(server) as client:
        job = client.batches.create(
            input,
            output,
            model=model,
            rows_per_shard=rows_per_shard,
            count=count,
            seed=seed,
            truncation=truncation,
            conditioning_truncation=conditioning_truncation,
            format=cast("ShardFormat", shard_format),
            input_format=cast("InputFormat | None", input_format),
            best_of=best_of,
            request_id=request_id,
        )
        if watched:
            click.echo(f"Job {job.id} is {job.state}, seed {job.seed}", err=True)
            _follow(client, job.id, patience, as_json)
    click.echo(_json(job) if as_json else job.id)


@jobs.command(name="list")
@click.option("--state", type=click.Choice(_STATES), help="Only jobs in this state.")
@click.option("--limit", default=50, type=click.IntRange(1), help="At most so many, the newest.")
@_server_option
@json_option
def list_jobs(state: str | None, limit: int, server: str | None, as_json: bool) -> None:
    """List your jobs, the newest first.

    \b
        t2i jobs list
        t2i jobs list --state failed --limit 5 --json
    """  # noqa: D301 - \b keeps click from filling the examples
    with _asking(server) as client:
        found = client.batches.list(state=cast("BatchJobState | None", state))
        some = list(islice(found, limit))
    if as_json:
        click.echo(json.dumps([_told(job) for job in some], indent=2))
        return
    if not some:
        click.echo("There are no jobs" + (f" in state {state}" if state else ""), err=True)
        return
    for line in _table(some):
        click.echo(line)


@jobs.command()
@click.argument("id")
@_server_option
@json_option
def show(id: str, server: str | None, as_json: bool) -> None:
    """Tell all that is known of a job as it is now."""
    with _asking(server) as client:
        job = client.batches.get(id)
    if as_json:
        click.echo(_json(job))
        return
    told = dict(_described(job))
    width = max(map(len, told))
    for name, value in told.items():
        click.echo(f"{name:{width}}  {value}")


@jobs.command()
@click.argument("id")
@_patience_option
@_server_option
@json_option
def watch(id: str, patience: float, server: str | None, as_json: bool) -> None:
    """Wait for the end of a job; the exit code tells which it is.

    On a terminal a bar shows how far it is. A service that is started again meanwhile is watched
    again. With --json every change is a line of JSON. Ctrl-C ends the watching and not the job.
    """
    with _asking(server) as client:
        _follow(client, id, patience, as_json)


@jobs.command()
@click.argument("id")
@_server_option
@json_option
def cancel(id: str, server: str | None, as_json: bool) -> None:
    """Stop a job; its finished shards are kept.

    A job that has ended stays as it is. Another job with the same input, output and options goes on
    with what is there.
    """
    with _asking(server) as client:
        job = client.batches.cancel(id)
    if as_json:
        click.echo(_json(job))
    else:
        click.echo(f"{job.id} " + (f"is {job.state}" if job.has_ended else "is being stopped"))


@contextmanager
def _asking(server: str | None) -> Iterator[Client]:
    """Give a client, and tell in one line why the service cannot be asked."""
    from t2i.client import Client

    try:
        with Client(server) as client:
            yield client
    except T2IError as error:
        raise _NotAsked(" ".join(str(error).split())) from error


def _follow(client: Client, id: str, patience: float, as_json: bool) -> None:
    """Show a job until it has ended, and end with the exit code that tells how."""
    job = None
    try:
        with _Bar(hidden=as_json) as bar:
            for job in client.batches.watch(id, patience=patience):
                if as_json:
                    click.echo(json.dumps(_told(job)))
                bar.show(job)
    except KeyboardInterrupt:
        raise _NotAsked(
            f"no longer watched; the job goes on: t2i jobs watch {id}, or t2i jobs cancel {id}"
        ) from None
    assert job is not None
    if not as_json:
        click.echo(_end(job))
    raise SystemExit(_code(job))


def _code(job: BatchJob) -> int:
    if job.state == "succeeded":
        return _SOME_FAILED if job.failed_rows else 0
    return _JOB_CANCELLED if job.state == "cancelled" else _JOB_FAILED


def _end(job: BatchJob) -> str:
    """Return what became of a job in one line."""
    told = f"{job.id} {job.state}"
    if job.error is not None:
        told += f" ({job.error.reason}: {job.error.message})"
    return f"{told}: {_rows(job)}, {_pictures(job)} in {job.output}"


def _rows(job: BatchJob) -> str:
    """Return how many rows are done."""
    done, total = job.completed_rows, job.total_rows
    told = f"{done:,} rows" if job.state == "succeeded" else f"{done:,} of {total:,} rows"
    if not total and not job.has_ended:
        told = "rows not counted yet"
    failures = f" ({job.failures})" if job.failures else ""
    return told + (f", {job.failed_rows:,} could not be drawn{failures}" if job.failed_rows else "")


def _pictures(job: BatchJob) -> str:
    shards = f"{job.completed_shards:,}"
    if job.state != "succeeded":
        shards += f" of {job.total_shards:,}"
    return f"{job.images:,} pictures in {shards} shards"


def _table(some: Iterable[BatchJob]) -> Iterator[str]:
    rows = [("ID", "STATE", "ROWS", "FAILED", "PICTURES", "CREATED", "OUTPUT")] + [
        (
            job.id,
            job.state,
            f"{job.completed_rows:,}/{job.total_rows:,}",
            f"{job.failed_rows:,}",
            f"{job.images:,}",
            _moment(job.created),
            job.output,
        )
        for job in some
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _described(job: BatchJob) -> Iterator[tuple[str, str]]:
    yield "id", job.id
    yield "state", job.state
    if job.error is not None:
        yield "error", f"{job.error.reason}: {job.error.message}"
    yield "input", f"{job.input} ({job.input_format or 'by its suffix'})"
    yield "output", f"{job.output} ({job.format}, {job.rows_per_shard:,} rows a shard)"
    yield "rows", _rows(job)
    yield "pictures", _pictures(job)
    yield "model", f"{job.model.name} version {job.model.version}  {job.model.checksum[:12]}"
    yield "seed", str(job.seed)
    yield (
        "options",
        f"count {job.count}, truncation {job.truncation:g}, conditioning truncation "
        f"{job.conditioning_truncation:g}, best of {job.best_of}",
    )
    for name, moment in (
        ("created", job.created),
        ("started", job.started),
        ("ended", job.ended),
    ):
        if moment is not None:
            yield name, _moment(moment)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _told(job: BatchJob) -> dict[str, Any]:
    """Return a job as JSON can hold it."""
    told = asdict(job)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in told.items()
    }


def _json(job: BatchJob) -> str:
    return json.dumps(_told(job), indent=2)


class _Bar:
    """A bar with rate and time left on a terminal, and nothing anywhere else."""

    def __init__(self, *, hidden: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._task = self._bar.add_task("Asking the service", total=None, told="")
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, job: BatchJob) -> None:
        """Show a job as it is now."""
        now, done, total = time.monotonic(), job.completed_rows, job.total_rows
        # Rows that were done before somebody looked say nothing of how fast it goes.
        began, there = self._first = self._first or (now, done)
        told = _rows(job)
        if done > there and now > began and not job.has_ended:
            rate = (done - there) / (now - began)
            left = timedelta(seconds=round((total - done) / rate))
            told += f", {rate:,.1f} a second, {left} left"
        self._bar.update(
            self._task,
            description=job.state.capitalize(),
            total=total or None,
            completed=done,
            told=told,
        )
