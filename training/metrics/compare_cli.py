"""The command `t2i-train compare`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from training.metrics.compare import as_json, as_markdown, as_table, plot
from training.metrics.runs import Across, read_runs


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
def compare(
    runs: tuple[Path, ...], form: str | None, plot_path: Path, no_plot: bool, across: Across
) -> None:
    """Put RUNS (folders of `t2i-train run --out`) side by side: a table and a plot.

    The table holds each run's last scores, and its best where that was an earlier one. The plot
    has a panel for each score over the course of training, real data's own dashed; runs without
    any score are drawn by their losses, which tell little across papers.

    \b
        t2i-train compare runs/dcgan runs/sngan
        t2i-train compare runs/* --markdown --across seconds --plot speed.png
    """  # noqa: D301 - \b keeps click from filling the examples
    from rich.console import Console

    from training.plots import save_plot

    read = read_runs(runs)
    if form == "json":
        click.echo(json.dumps(as_json(read), indent=2))
    elif form == "markdown":
        click.echo(as_markdown(read), nl=False)
    else:
        Console().print(as_table(read))
    if no_plot:
        return
    save_plot(plot(read, across), plot_path)
    click.echo(f"plot: {plot_path}", err=True)
