"""The command `t2i batch`: a file of captions in, shards of pictures out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast, get_args

import click

from t2i.batch.formats import InputFormat, ShardFormat
from t2i.batch.plan import MAX_COUNT
from t2i.batch.records import check_file, format_of
from t2i.batch.storage import is_address
from t2i.cli_options import device_option, model_option, row_options, shard_options
from t2i.errors import InvalidInput, T2IError
from t2i.seeds import LARGEST_SEED

if TYPE_CHECKING:
    from t2i.batch.drawers import Drawer, ShardDrawer
    from t2i.batch.job import Summary
    from t2i.batch.shard import ShardReport

__all__ = ["batch"]

ENGINES = ("local", "ray")
_SOME_FAILED = 1
_STOPPED = 2


class _Stopped(click.ClickException):
    """One line on standard error and exit code 2."""

    exit_code = _STOPPED


@click.command(context_settings={"show_default": True})
@click.argument("source", metavar="INPUT", type=click.Path())
@click.option(
    "--out",
    required=True,
    metavar="FOLDER",
    type=click.Path(),
    help="Folder of the job: new, empty, or with a job that is to be gone on with; a path, or an "
    "address of fsspec such as s3://bucket/birds.",
)
@shard_options
@click.option(
    "--count",
    default=1,
    type=click.IntRange(1, MAX_COUNT),
    help="Pictures of a row that does not tell.",
)
@click.option(
    "--seed",
    default=0,
    type=click.IntRange(0, LARGEST_SEED),
    help="Rows without a seed have theirs from this one and their id.",
)
@row_options
@model_option
@click.option(
    "--server",
    metavar="ADDRESS",
    help="Ask the service at this address instead of drawing in this process. Token and "
    "certificate come from T2I_TOKEN and T2I_CA.",
)
@click.option(
    "--engine",
    default="local",
    type=click.Choice(ENGINES),
    help="Where pictures are drawn without --server: in this process, or in workers of Ray.",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="The Ray to draw on: auto, ray://HOST:PORT or HOST:PORT.  [default: RAY_ADDRESS, or one "
    "that is started on this machine for the job]",
)
@click.option(
    "--ray-workers",
    type=click.IntRange(1),
    help="Workers of Ray, each with the model on one core.  [default: one for each core]",
)
@device_option
@click.option(
    "--restart", is_flag=True, help="Remove what an earlier job left in the folder, and begin anew."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def batch(
    source: str,
    out: str,
    input_format: str | None,
    shard_format: str,
    rows_per_shard: int,
    count: int,
    seed: int,
    truncation: float,
    conditioning_truncation: float,
    best_of: int,
    model: str | None,
    server: str | None,
    engine: str,
    ray_address: str | None,
    ray_workers: int | None,
    device: str | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Draw a picture or more for each row of INPUT; - is standard input.

    Columns, all optional but what the model takes: id, text, label, attributes, code (or condition
    for any of the four), count, seed, truncation, conditioning_truncation, best_of. In plain text
    every line is a condition.

    \b
    A hundred thousand captions:
        t2i batch captions.jsonl --out birds
    The same again after a crash, a kill or a full disk: only what is missing is drawn.
        t2i batch captions.jsonl --out birds
    On a service, four pictures of each caption, as files in folders:
        t2i batch captions.csv --out birds --count 4 --format folder --server 127.0.0.1:50051
    By the machines of a Ray cluster, to a folder that all of them share:
        t2i batch captions.jsonl --out /shared/birds --engine ray --ray-address auto
    From another program:
        make-captions | t2i batch - --input-format text --out birds

    The summary goes to standard output, everything else to standard error. Rows that cannot be
    drawn are told in failures.jsonl.

    INPUT and FOLDER may be addresses that fsspec knows (s3://, gs://, az://, sftp://, https:// for
    INPUT ...), each with the package that fsspec names for it.

    \b
    From one bucket to another:
        t2i batch s3://texts/captions.jsonl --out s3://pictures/birds

    \b
    Exit codes:
        0  every row is drawn
        1  done, but some rows could not be drawn: see failures.jsonl
        2  could not run, or stopped before the end; the same command goes on
    """  # noqa: D301 - \b keeps click from filling the examples
    if server is not None and device is not None:
        raise click.UsageError("--device is the service's business: leave out one of the two")
    if server is not None and engine != "local":
        raise click.UsageError("a service draws, or Ray does: leave out --server or --engine")
    if engine != "ray" and (ray_address is not None or ray_workers is not None):
        raise click.UsageError("--ray-address and --ray-workers need --engine ray: give that too")
    with _one_line(out):
        from t2i.batch.job import Job, run_job

        chosen = cast("InputFormat | None", input_format)
        piped = source == "-"
        streamed = piped or not (is_address(source) or check_file(Path(source)))
        with ExitStack() as stack:
            given: str | BinaryIO = source
            if streamed:
                given = sys.stdin.buffer if piped else stack.enter_context(Path(source).open("rb"))
            job = Job(
                source=given,
                input_format=_format(source, chosen, piped),
                out=out,
                format=cast("ShardFormat", shard_format),
                rows_per_shard=rows_per_shard,
                count=count,
                seed=seed,
                truncation=truncation,
                conditioning_truncation=conditioning_truncation,
                best_of=best_of,
                restart=restart,
            )
            with _Progress() as progress:
                opener = (
                    _on_ray(model, device, ray_address, ray_workers)
                    if engine == "ray"
                    else _opener(model, server, device)
                )
                summary = run_job(job, opener, progress=progress)
    if summary.passed_over:
        names = ", ".join(summary.passed_over)
        click.echo(f"Warning: columns that mean nothing here were passed over: {names}", err=True)
    click.echo(_json(summary) if as_json else _line(summary))
    if summary.failed:
        raise SystemExit(_SOME_FAILED)


def _format(source: str, chosen: InputFormat | None, piped: bool) -> InputFormat:
    if piped and chosen is None:
        raise InvalidInput(
            "input-format",
            None,
            "standard input has no suffix",
            f"give --input-format {', '.join(get_args(InputFormat))}",
        )
    return format_of(source, chosen)


def _opener(model: str | None, server: str | None, device: str | None) -> Callable[[], Drawer]:
    from t2i.batch.drawers import PipelineDrawer, ServiceDrawer
    from t2i.memory import keep_memory

    if server is not None:
        return lambda: ServiceDrawer(server, model)
    keep_memory()
    return lambda: PipelineDrawer.load(model or "default", device)


def _on_ray(
    model: str | None, device: str | None, address: str | None, workers: int | None
) -> Callable[[], ShardDrawer]:
    from t2i.batch.ray_drawer import RayDrawer

    return lambda: RayDrawer(model or "default", device, address=address, workers=workers)


@contextmanager
def _one_line(out: str) -> Iterator[None]:
    """Tell what stops a job in one line, with the exit code that says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise _Stopped(
            f"interrupted; finished shards are kept in {out}, and the same command goes on"
        ) from None
    except T2IError as error:
        raise _Stopped(" ".join(str(error).split())) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise _Stopped(
            f"{where}{error.strerror or error}; finished shards are kept in {out}, and the same "
            "command goes on when that is put right"
        ) from error


def _line(summary: Summary) -> str:
    failed = (
        f", {summary.failed:,} could not be drawn ({summary.failures})" if summary.failed else ""
    )
    told = (
        f"{summary.rows:,} rows: {summary.pictures:,} pictures in {summary.shards:,} shards in "
        f"{summary.out}{failed}"
    )
    if not summary.drawn_pictures:
        return f"{told}; all were there"
    return (
        f"{told}; {summary.drawn_pictures:,} drawn in {summary.seconds:.1f} s, "
        f"{summary.pictures_per_second:.1f} a second"
    )


def _json(summary: Summary) -> str:
    told = asdict(summary) | {"pictures_per_second": summary.pictures_per_second}
    return json.dumps(told, indent=2, default=str)


class _Progress:
    """A bar with rate and time left on a terminal, and nothing anywhere else."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("Loading the model", total=None, told="")
        self._began = 0.0
        self._rows = self._found = self._drawn = self._pictures = 0

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def begin(self, rows: int) -> None:
        """See `t2i.batch.job.Progress`."""
        self._began, self._rows = time.monotonic(), rows
        self._bar.update(self._task, description="Drawing", total=rows)

    def found(self, report: ShardReport) -> None:
        """See `t2i.batch.job.Progress`."""
        self._found += report.rows
        self._show()

    def drawn(self, rows: int, pictures: int) -> None:
        """See `t2i.batch.job.Progress`."""
        self._drawn += rows
        self._pictures += pictures
        self._show()

    def finished(self, report: ShardReport) -> None:
        """See `t2i.batch.job.Progress`; the bar counts rows."""

    def _show(self) -> None:
        done = self._found + self._drawn
        told = f"{done:,} of {self._rows:,} rows"
        seconds = time.monotonic() - self._began
        if self._pictures and seconds > 0:
            left = max(0, self._rows - done) * seconds / max(1, self._drawn)
            told += f", {self._pictures / seconds:,.1f} pictures a second, {_clock(left)} left"
        self._bar.update(self._task, completed=min(done, self._rows), told=told)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
