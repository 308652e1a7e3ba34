"""The command `t2i`: draw pictures here or on a server, and see which models there are.

Everything heavy is imported where it is used, so that `--help` and a wrong option answer at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import t2i
from t2i.cli_admin import admin
from t2i.cli_batch import batch
from t2i.cli_interpolate import interpolate
from t2i.cli_jobs import jobs
from t2i.cli_options import (
    device_option,
    json_option,
    model_option,
    noise_options,
    scale_option,
)
from t2i.errors import InvalidInput, T2IError
from t2i.takes import SEED_ALONE

__all__ = ["main"]


class _Failed(click.ClickException):
    """One line on standard error and exit code 1."""

    exit_code = 1

    def __init__(self, error: Exception) -> None:
        super().__init__(" ".join(str(error).split()))


class _WrongUse(_Failed):
    """One line on standard error and exit code 2."""

    exit_code = 2


class _Commands(click.Group):
    """A group whose commands end in one clear line when they fail."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except T2IError as error:
            code = getattr(getattr(error, "code", None), "name", "")
            wrong = isinstance(error, InvalidInput) or code == "INVALID_ARGUMENT"
            raise (_WrongUse if wrong else _Failed)(error) from error
        except OSError as error:
            raise _Failed(error) from error


_server_option = click.option(
    "--server",
    metavar="ADDRESS",
    help="Ask the service at this address, such as 127.0.0.1:50051, instead of drawing in this "
    "process. Token and certificate come from T2I_TOKEN and T2I_CA.",
)


@click.group(
    cls=_Commands,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@click.version_option(t2i.__version__, prog_name="t2i")
def main() -> None:
    """Type a caption, get the picture.

    \b
    Draw one picture with the bundled model:
        t2i generate "small bird with red head" --out bird.png
    Draw four on one sheet, the same four every time:
        t2i generate "small bird with red head" --count 4 --seed 7 --out birds.png
    Draw the way from one caption to another as a film:
        t2i interpolate "a red bird" "a blue bird" --seed 7 --out way.gif
    Draw a file of captions into shards of pictures:
        t2i batch captions.jsonl --out birds
    Have a service do that by itself:
        t2i jobs create captions.jsonl birds --watch
    See which models there are:
        t2i models

    Exit codes: 0 done, 1 failed, 2 wrong use (an option or a caption that cannot be used).
    """  # noqa: D301 - \b keeps click from filling the examples
    # gRPC's own log lines would stand between ours; who wants them can say so.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@main.command(context_settings={"show_default": True})
@click.argument("caption", required=False)
@click.option(
    "--label", metavar="CLASS", help="Draw a class, by name or number, with a model of labels."
)
@click.option(
    "--code",
    metavar="NUMBERS",
    help='Draw a latent code, such as "3,0.5,-1", with a model of codes: its parts in order.',
)
@click.option(
    "--code-sweep",
    metavar="PART",
    help="Draw what one part of the code does: all its categories or its range, a row for each "
    "seed. --code gives the other parts.",
)
@click.option(
    "--steps",
    type=click.IntRange(2, 1024),
    help="Pictures along a continuous part in a sweep.  [default: 8]",
)
@click.option(
    "--attribute",
    "attributes",
    metavar="NAME=VALUE",
    multiple=True,
    help="Draw attributes, such as crown=red, with a model of attributes; one option for each.",
)
@click.option("--count", default=1, type=click.IntRange(1, 1024), help="Number of pictures.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    help="Seed of the first picture; the next have the next seeds. The same seed draws the same "
    "picture again.  [default: a new one each time]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A file (.png, .jpg, .webp): several pictures become one sheet. Or a folder: one file "
    "each.  [default: a file named after the condition and the seed]",
)
@model_option
@_server_option
@click.option("--previews", is_flag=True, help="Save the pictures of the earlier stages as well.")
@noise_options
@click.option(
    "--best-of",
    default=1,
    type=click.IntRange(1, 16),
    help="Draw so many candidates for each picture and keep the one that agrees best with CAPTION.",
)
@click.option(
    "--attention",
    is_flag=True,
    help="Show where each picture looked at each word of CAPTION, with a model that attends to "
    "words.",
)
@click.option(
    "--fine",
    metavar="CAPTION",
    help="What the later stages follow, with a model of several: CAPTION gives the outline, this "
    "the rest.",
)
@click.option(
    "--fine-from",
    metavar="PIXELS",
    type=click.IntRange(1),
    help="Resolution of the first stage that follows --fine.  [default: that of the second]",
)
@click.option(
    "--format",
    "file_format",
    default="png",
    type=click.Choice(["png", "jpeg", "webp"]),
    help="Format of the files where --out does not say it by its suffix.",
)
@scale_option
@device_option
def generate(
    caption: str | None,
    label: str | None,
    code: str | None,
    code_sweep: str | None,
    steps: int | None,
    attributes: tuple[str, ...],
    count: int,
    seed: int | None,
    out: Path | None,
    model: str | None,
    server: str | None,
    previews: bool,
    truncation: float,
    conditioning_truncation: float,
    best_of: int,
    attention: bool,
    fine: str | None,
    fine_from: int | None,
    file_format: str,
    scale: int,
    device: str | None,
) -> None:
    """Draw pictures of CAPTION, or of what the model takes instead, and save them.

    The paths of the saved files go to standard output, everything else to standard error.

    \b
    One picture, named after the caption:
        t2i generate "small bird with red head"
    Four on one sheet, enlarged, with the stages that led to them:
        t2i generate "small bird with red head" --count 4 --previews --scale 4 --out birds.png
    A hundred in a folder, as seeds 0 to 99:
        t2i generate "a black bird on the ground" --count 100 --seed 0 --out birds/
    From a service:
        t2i generate "small bird with red head" --server 127.0.0.1:50051 --out bird.png
    With a model of your own:
        t2i generate "a yellow flower" --model runs/flowers/bundle --out flower.png
    The best of eight, in the eyes of the model's scorer:
        t2i generate "small bird with red head" --best-of 8 --seed 7 --out bird.png
    The outline of one caption with the details of another, by a model of stages such as stackgan:
        t2i generate "a small bird" --fine "a red bird" --model runs/stackgan/bundle
    With a model of labels, of attributes, or of seeds alone:
        t2i generate --label 7 --model runs/digits/bundle --out seven.png
        t2i generate --attribute crown=red --attribute size=0.5 --model runs/birds/bundle
        t2i generate --count 16 --model runs/faces/bundle --out faces.png
    With a model of codes, one picture, and what one part does at seeds 0 to 4:
        t2i generate --code "3,0.5,-1" --model runs/infogan/bundle --out code.png
        t2i generate --code-sweep tilt --count 5 --seed 0 --model runs/infogan/bundle --out tilt.png
    """  # noqa: D301 - \b keeps click from filling the examples
    from t2i import cli_generate as command
    from t2i.cli_conditions import Words

    if server is not None and device is not None:
        raise click.UsageError("--device is the service's business: leave out one of the two")
    if out is not None and not command.is_folder(out):
        command.check_suffix(out)
    if code_sweep is not None and previews:
        raise click.UsageError("--previews does not go with --code-sweep: leave out one of the two")
    if code_sweep is not None and fine is not None:
        raise click.UsageError("--fine does not go with --code-sweep: leave out one of the two")
    if best_of > 1 and (code_sweep is not None or fine is not None):
        raise click.UsageError("--best-of chooses by one condition: leave out --fine, --code-sweep")
    if attention and (code_sweep is not None or fine is not None or previews):
        raise click.UsageError(
            "--attention goes with one caption: leave out --fine, --code-sweep and --previews"
        )
    if fine is None and fine_from is not None:
        raise click.UsageError("--fine-from is for --fine: leave it out, or give both")
    if code_sweep is None and steps is not None:
        raise click.UsageError("--steps is for --code-sweep: leave it out, or name a part to sweep")
    ask = command.Ask(
        words=Words(caption=caption, label=label, code=code, attributes=attributes),
        sweep=code_sweep,
        steps=steps,
        count=count,
        seed=seed,
        model=model,
        previews=previews,
        truncation=truncation,
        conditioning_truncation=conditioning_truncation,
        fine=fine,
        fine_from=fine_from,
        best_of=best_of,
        attention=attention,
    )
    if server is None:
        with _waiting("Loading the model") as tell:
            drawing = command.draw_here(ask, device, tell)
    else:
        with _waiting("Asking the service") as tell:
            drawing = command.draw_there(ask, server, tell)
    for warning in drawing.warnings:
        click.echo(f"Warning: {warning}", err=True)
    suffix = command.SUFFIXES[file_format]
    out = out or command.default_file(drawing, code_sweep or ask.words.stem, suffix)
    paths = command.save(drawing, out, suffix=suffix, scale=scale)
    click.echo(drawing.summary(), err=True)
    for path in paths:
        click.echo(path)


@main.command()
@_server_option
@json_option
def models(server: str | None, as_json: bool) -> None:
    """List the models that come with t2i, or those of a service.

    \b
        t2i models
        t2i models --server 127.0.0.1:50051 --json
    """  # noqa: D301 - \b keeps click from filling the examples
    rows = _models_here() if server is None else _models_there(server)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        sizes = "→".join(str(resolution) for resolution in row["resolutions"])
        default = "  (default)" if row["is_default"] else ""
        click.echo(
            f"{row['name']}  version {row['version']}  {sizes} px  "
            f"from {', '.join(row['conditions']) or SEED_ALONE}  {row['checksum'][:12]}{default}"
        )


def _models_here() -> list[dict[str, Any]]:
    from t2i.extras import needs_extra

    with needs_extra("inference", or_else="ask a service with --server ADDRESS"):
        from t2i.bundle import DEFAULT_NAME, Bundle, pretrained_names

        bundles = [Bundle.load(name) for name in pretrained_names()]
    return [
        {
            "name": bundle.config.name,
            "version": bundle.config.version,
            "checksum": bundle.checksum,
            "conditions": bundle.config.conditions,
            "resolutions": bundle.config.resolutions,
            "encoder": bundle.config.encoder.id if bundle.config.encoder else "",
            "embedding_size": bundle.config.embedding_dim,
            "labels": bundle.config.labels,
            "code": [asdict(part) for part in bundle.config.code],
            "attributes": [asdict(attribute) for attribute in bundle.config.attributes],
            "is_default": bundle.config.name == DEFAULT_NAME,
            "folder": str(bundle.folder),
        }
        for bundle in bundles
    ]


def _models_there(server: str) -> list[dict[str, Any]]:
    from t2i.client import Client

    with Client(server) as client:
        return [asdict(model) for model in client.list_models()]


main.add_command(admin)
main.add_command(batch)
main.add_command(interpolate)
main.add_command(jobs)


@contextmanager
def _waiting(what: str) -> Iterator[Any]:
    """Show on a terminal that something goes on; gives a function that says what."""
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield status.update


if __name__ == "__main__":
    main()
