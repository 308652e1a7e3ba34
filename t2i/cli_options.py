"""Options that several commands have, each with the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from t2i.batch.formats import INPUT_FORMATS, SHARD_FORMATS
from t2i.batch.plan import MAX_ROWS_PER_SHARD
from t2i.seeds import MAX_BEST_OF

__all__ = [
    "device_option",
    "json_option",
    "model_option",
    "noise_options",
    "row_options",
    "scale_option",
    "shard_options",
]

F = TypeVar("F", bound=Callable[..., Any] | click.Command)


def _all(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return what gives a command several options; its help tells them in this order."""

    def give(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return give


model_option = click.option(
    "--model",
    metavar="NAME|FOLDER",
    help="The model: a name, or the folder of a bundle (with --server, a name that the service "
    "knows).  [default: the bundled one, or the service's own]",
)
device_option = click.option(
    "--device", help="Torch device, such as cpu or cuda.  [default: the best there is]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
scale_option = click.option(
    "--scale",
    default=1,
    type=click.IntRange(1, 16),
    help="Enlarge the saved pictures so many times.",
)


def _noise_options(help: str) -> Callable[[F], F]:
    return _all(
        click.option("--truncation", default=1.0, type=click.FloatRange(0, 1), help=help),
        click.option(
            "--conditioning-truncation",
            default=1.0,
            type=click.FloatRange(0, 1),
            help="The same for the noise added to the caption's embedding.",
        ),
    )


# Of pictures that are drawn in a call.
noise_options = _noise_options(
    "Scale of the noise: less gives more alike, usually cleaner pictures."
)

# Of a batch job, here and on a service: its input and its shards, and what rows leave open.
shard_options = _all(
    click.option(
        "--input-format",
        type=click.Choice(INPUT_FORMATS),
        help="How INPUT is written.  [default: by its suffix .jsonl, .csv, .parquet or .txt]",
    ),
    click.option(
        "--format",
        "shard_format",
        default="webdataset",
        type=click.Choice(SHARD_FORMATS),
        help="What a shard becomes: a tar file, a folder of PNG files, or a Parquet file.",
    ),
    click.option(
        "--rows-per-shard",
        default=1000,
        type=click.IntRange(1, MAX_ROWS_PER_SHARD),
        help="Its size.",
    ),
)
row_options = _all(
    _noise_options("Scale of the noise of a row that does not tell."),
    click.option(
        "--best-of",
        default=1,
        type=click.IntRange(1, MAX_BEST_OF),
        help="Candidates for each picture of a row that does not tell; the best is kept.",
    ),
)
