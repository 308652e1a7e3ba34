"""The command `t2i interpolate`: the way from one picture to another, as a strip or a film."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from t2i.cli_conditions import read_words
from t2i.cli_options import device_option, noise_options, scale_option
from t2i.extras import needs_extra
from t2i.seeds import LARGEST_SEED, read_ends

if TYPE_CHECKING:
    from t2i.cli_generate import Drawing

__all__ = ["interpolate"]

# More pictures than this make a sheet of several rows.
_LONGEST_ROW = 16


@click.command(context_settings={"show_default": True})
@click.argument("first", metavar="[FROM]", required=False)
@click.argument("last", metavar="[TO]", required=False)
@click.option("--steps", default=8, type=click.IntRange(2, 1024), help="Number of pictures.")
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    help="Seed of all pictures, or of the first.  [default: a new one each time]",
)
@click.option(
    "--to-seed",
    type=click.IntRange(0, LARGEST_SEED),
    help="Seed of the last picture.  [default: that of the first]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A sheet (.png, .jpg), a film (.gif, .webp), or a folder: one file each.  [default: a "
    "sheet named after FROM and the seed]",
)
@click.option("--fps", default=8, type=click.IntRange(1, 50), help="Pictures a second in a film.")
@click.option("--and-back", is_flag=True, help="Let a film go back to its beginning.")
@click.option("--model", metavar="NAME|FOLDER", help="The model, as in t2i generate.")
@click.option(
    "--server", metavar="ADDRESS", help="Ask the service at this address, as in t2i generate."
)
@noise_options
@scale_option
@device_option
def interpolate(
    first: str | None,
    last: str | None,
    steps: int,
    seed: int | None,
    to_seed: int | None,
    out: Path | None,
    fps: int,
    and_back: bool,
    model: str | None,
    server: str | None,
    truncation: float,
    conditioning_truncation: float,
    scale: int,
    device: str | None,
) -> None:
    """Draw the way from FROM to TO: the words change, or the noise, or both.

    FROM and TO are captions, or with a model of something else its words: a label such as wren, a
    code such as "3,0.5,-1", attributes such as "crown=red;size=0.5". Without TO only the noise
    changes, from --seed to --to-seed. The first and the last picture are those of t2i generate.

    \b
    A strip of eight pictures:
        t2i interpolate "a red bird" "a blue bird" --seed 7 --out way.png
    A film that goes there and back, enlarged:
        t2i interpolate "a red bird" "a blue bird" --steps 24 --and-back --scale 4 --out way.gif
    Other birds of one caption:
        t2i interpolate "a red bird" --seed 7 --to-seed 8 --out birds.webp
    """  # noqa: D301 - \b keeps click from filling the examples
    # Pillow and the like are imported late, so that a wrong option answers at once.
    from t2i.cli_generate import Drawing, check_suffix, default_file, is_folder, save
    from t2i.files import write_atomically
    from t2i.sheets import FILM_SUFFIXES, film

    if server is not None and device is not None:
        raise click.UsageError("--device is the service's business: leave out one of the two")
    if last is None and to_seed is None:
        raise click.UsageError("nothing changes on the way: give TO, or --to-seed, or both")
    is_film = out is not None and not is_folder(out) and out.suffix.lower() in FILM_SUFFIXES
    if out is not None and not is_folder(out) and not is_film:
        check_suffix(out)
    if and_back and not is_film:
        raise click.UsageError("--and-back is for a film: name --out with .gif or .webp")
    one, other = read_ends(seed)
    ends = (one, other if to_seed is None else to_seed)
    scales = (truncation, conditioning_truncation)
    drawing = Drawing(columns=steps if steps <= _LONGEST_ROW else None)
    if server is None:
        _draw_here(drawing, (first, last), ends, steps, scales, model, device)
    else:
        _draw_there(drawing, (first, last), ends, steps, scales, model, server)
    drawing.seeds = [*[one] * (steps - 1), ends[1]]
    for warning in drawing.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if out is not None and is_film:
        frames = [stages[-1] for stages in drawing.stages]
        packed = film(frames, out.suffix, fps=fps, and_back=and_back, scale=scale)
        paths = [write_atomically(out, packed)]
    else:
        out = out or default_file(drawing, first or "seeds", ".png")
        paths = save(drawing, out, scale=scale)
    click.echo(drawing.summary(), err=True)
    for path in paths:
        click.echo(path)


_Words = tuple[str | None, str | None]


def _draw_here(
    drawing: Drawing,
    words: _Words,
    seeds: tuple[int, int],
    steps: int,
    scales: tuple[float, float],
    model: str | None,
    device: str | None,
) -> None:
    with needs_extra("inference", or_else="ask a service with --server ADDRESS"):
        from t2i.pipeline import Pipeline

        pipeline = Pipeline.from_pretrained(model or "default", device)
    first, last = (read_words(text, pipeline.info) for text in words)
    way = pipeline.interpolate(
        first,
        last,
        steps=steps,
        seed=seeds,
        truncation=scales[0],
        conditioning_truncation=scales[1],
    )
    drawing.model = pipeline.info.name
    drawing.stages = [[image.pil()] for image in way.images]
    drawing.warn(warning.message for warning in way.warnings)


def _draw_there(
    drawing: Drawing,
    words: _Words,
    seeds: tuple[int, int],
    steps: int,
    scales: tuple[float, float],
    model: str | None,
    server: str,
) -> None:
    from t2i.client import Client

    with Client(server) as client:
        info = client.get_model(model)
        first, last = (read_words(text, info) for text in words)
        way = client.interpolate(
            first,
            last,
            steps=steps,
            seed=seeds,
            model=info.name,
            truncation=scales[0],
            conditioning_truncation=scales[1],
        )
    drawing.model = way.model.name
    drawing.stages = [[image.pil()] for image in way]
    drawing.warn(warning.message for warning in way.warnings)
