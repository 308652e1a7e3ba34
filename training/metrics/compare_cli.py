"""The command `t2i-train compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.metrics.compare import as_json, as_markdown, as_table, plot
from training.metrics.errors import MetricsError
from training.metrics.runs import Across, Run, read_runs

if TYPE_CHECKING:
    from training.metrics.sources import AskedSplit


@click.command("compare", context_settings={"show_default": True})
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False, exists=True)
)
@click.option("--json", "form", flag_value="json", help="Print one JSON object.")
@click.option("--markdown", "form", flag_value="markdown", help="Print a table in Markdown.")
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("compare.png"),
    help="Where the plot goes, a PNG.",
)
@click.option("--no-plot", is_flag=True, help="Draw no plot.")
@click.option(
    "--across",
    type=click.Choice(["kimg", "seconds", "round"]),
    default="kimg",
    help="What the plot's horizontal axis counts.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the same captions with the same seeds by every run's bundle, beside a real picture "
    "of each, into this picture, such as sheet.png.",
)
@click.option("--data", help="What the sheet asks for  [default: what all the runs learned from].")
@click.option(
    "--split",
    type=click.Choice(["val", "unseen"]),
    default="val",
    help="Split of DATA that the sheet asks for.",
)
@click.option("--sheet-captions", default=8, type=click.IntRange(1), help="Rows of the sheet.")
@click.option("--sheet-seeds", default=3, type=click.IntRange(1), help="Columns of each run.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where drawn or decoded pictures are kept [default: ~/.cache/t2i].",
)
def compare(
    runs: tuple[Path, ...],
    form: str | None,
    plot_path: Path,
    no_plot: bool,
    across: Across,
    sheet: Path | None,
    data: str | None,
    split: AskedSplit,
    sheet_captions: int,
    sheet_seeds: int,
    cache: Path | None,
) -> None:
    """Put RUNS (folders of `t2i-train run --out`) side by side: a table, a plot, and a sheet.

    The table holds each run's last scores, and its best where that was an earlier one. The plot
    has a panel for each score over the course of training, real data's own dashed; runs without
    any score are drawn by their losses, which tell little across papers. The sheet shows what each
    run's bundle draws when all are asked the same.

    \b
        t2i-train compare runs/dcgan runs/sngan
        t2i-train compare runs/* --markdown --across seconds --plot speed.png
        t2i-train compare runs/df-gan runs/t2i --sheet sheet.png
    """  # noqa: D301 - \b keeps click from filling the examples
    from rich.console import Console

    from training.plots import save_plot

    read = read_runs(runs)
    if sheet is not None:
        from training.metrics.model_sheet import write_sheet

        # Drawn first: what cannot be drawn is said before the table, not after it.
        write_sheet(
            sheet,
            {run.name: folder / "bundle" for run, folder in zip(read, runs, strict=True)},
            data or _common_data(read),
            split=split,
            captions=sheet_captions,
            seeds=range(sheet_seeds),
            cache_dir=cache,
        )
    if form == "json":
        click.echo(json.dumps(as_json(read), indent=2))
    elif form == "markdown":
        click.echo(as_markdown(read), nl=False)
    else:
        Console().print(as_table(read))
    if sheet is not None:
        click.echo(f"sheet: {sheet}", err=True)
    if no_plot:
        return
    save_plot(plot(read, across), plot_path)
    click.echo(f"plot: {plot_path}", err=True)


def _common_data(runs: Sequence[Run]) -> str:
    names = dict.fromkeys(run.data for run in runs)
    if len(names) != 1 or not runs[0].data:
        raise MetricsError(
            "data",
            tuple(names),
            f"{', '.join(name or 'unknown' for name in names)}: not one that all runs learned from",
            "say with --data what the sheet asks for",
        )
    return runs[0].data
