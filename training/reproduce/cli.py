"""The commands `t2i-train reproduce` and `t2i-train zoo`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.claims.claim import Claim, claims, find_claim
from training.errors import TrainingError
from training.registry import Entry, recipes
from training.reproduce.pages import keep_picture, source_tree, write_pages
from training.reproduce.results import Result, SeedResult, plain, record, recorded
from training.reproduce.seeds import reproduce as run_claim

DID_NOT_HOLD = 3
# Least columns that `zoo` gives to what was measured, where that is long.
_MEASURED = 22
EXIT_CODES = """\b
Exit codes: 0 the claim held on all seeds, 3 it did not, 1 failed, 2 wrong usage, 130 stopped (the
same command goes on).
"""


class _Seeds(click.ParamType[tuple[int, ...]]):
    name = "N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers; give 0,1,2", param, ctx)


@click.command("reproduce", epilog=EXIT_CODES)
@click.argument("key")
@click.option(
    "--seeds", type=_Seeds(), default="0,1,2", show_default=True, help="Seeds, with commas between."
)
@click.option(
    "--data",
    "root",
    type=click.Path(path_type=Path, exists=True),
    help="Folder or archive of the picture sets; T2I_DATA without it.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the runs; resumed where it holds some.  [default: runs/reproduce/KEY]",
)
@click.option("--download", is_flag=True, help="Fetch picture sets that are not on this machine.")
@click.option("--record", "keep", is_flag=True, help="Write the result into the source tree.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def reproduce(
    ctx: click.Context,
    key: str,
    seeds: tuple[int, ...],
    root: Path | None,
    out: Path | None,
    download: bool,
    keep: bool,
    quiet: bool,
) -> None:
    """Run the experiment that shows what paper KEY claims, and print what came of it.

    Running the same command again goes on where it was interrupted; a finished seed is not run
    again. `t2i-train zoo` lists the papers and what their experiments show.
    """
    claim = find_claim(key)
    tree = source_tree() if keep else None
    folder = Path("runs/reproduce") / key if out is None else out
    console = Console()

    def told(seed: SeedResult) -> None:
        if not quiet:
            held = "held" if seed.holds else "did not hold"
            Console(stderr=True).print(f"seed {seed.seed}: {held}, {seed.seconds:.0f} s")

    result, found = run_claim(
        claim,
        seeds=seeds,
        out=folder,
        root=root,
        download=download,
        shown=not quiet,
        on_seed=told,
    )
    _print(console, claim, result, found)
    if tree is not None:
        click.echo(f"recorded: {record(result)}")
        keep_picture(key, found[0], tree / "docs" / "zoo")
        for path in write_pages(tree / "docs" / "zoo"):
            click.echo(f"written: {path}")
    if not all(result.holds):
        ctx.exit(DID_NOT_HOLD)


def _print(console: Console, claim: Claim, result: Result, found: Sequence[SeedResult]) -> None:
    table = Table("figure", "final", "best", *(f"seed {seed}" for seed in result.seeds))
    for name, spread in result.final.items():
        best = result.best.get(name)
        each = [f"{value:.4g}" for value in spread.values]
        table.add_row(plain(name), str(spread), "" if best is None else str(best), *each)
    table.add_row("held", "", "", *("yes" if held else "no" for held in result.holds))
    console.print(table)
    lines = [
        f"claim: {claim.shows}",
        f"paper: {claim.paper}",
        f"held on {result.held} of {len(result.holds)} seeds, {result.seconds:.0f} s in all",
        *(f"data: {name} {mark[:12]}" for name, mark in result.data.items()),
        f"made by: {result.command} (commit {result.commit}, {result.machine}, "
        f"torch {result.torch})",
        *(f"picture: {path}" for seed in found for path in seed.pictures.values()),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@click.command("zoo")
@click.option("--section", help="Only the papers of one section: A, B …")
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
@click.option(
    "--pages",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write a page a paper into FOLDER instead, and the table of ../results.md.",
)
def zoo(section: str | None, as_json: bool, pages: Path | None) -> None:
    """List the recipes: papers, what their experiments show, and what was measured."""
    if pages is not None:
        for path in write_pages(pages):
            click.echo(str(path))
        return
    known, results = claims(), recorded()
    entries = [each for each in recipes().values() if section in (None, each.section)]
    if not entries:
        there = sorted({entry.section for entry in recipes().values() if entry.section})
        raise TrainingError(f"section {section!r}: has no papers; there are {', '.join(there)}")
    rows = [_row(entry, known.get(entry.key), results.get(entry.key)) for entry in entries]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    _list(Console(), rows, results)


def _list(
    console: Console, rows: Sequence[Mapping[str, Any]], results: Mapping[str, Result]
) -> None:
    """Print a row a paper; claim and measure go over several lines in a narrow terminal."""
    lines = [("key", "year", "claim", "measured")]
    for row in rows:
        result = results.get(row["key"])
        measured = "" if result is None else _measured(result)
        lines.append((row["key"], str(row["year"] or ""), row["claim"] or "", measured))
    key, year, _, most = (max(map(len, column)) for column in zip(*lines, strict=True))
    told = min(most, max(_MEASURED, console.width // 3))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    claim = max(20, console.width - key - year - told - 6)
    for name, width in zip(lines[0], (key, year, claim, told), strict=True):
        table.add_column(name, min_width=width, max_width=width)
    for line in lines[1:]:
        table.add_row(*(Text(cell) for cell in line))
    console.print(table)


def _measured(result: Result) -> str:
    """The headline figure, and on how many of the seeds the claim held."""
    name, spread = next(iter(result.final.items()))
    return f"{spread} {plain(name)}, held {result.held}/{len(result.holds)}"


def _row(entry: Entry, claim: Claim | None, result: Result | None) -> dict[str, Any]:
    return {
        "key": entry.key,
        "title": entry.title,
        "authors": entry.source.authors,
        "year": entry.source.year,
        "arxiv": list(entry.source.arxiv),
        "section": entry.section,
        "data": entry.data,
        "claim": None if claim is None else claim.shows,
        "measured": None if result is None else result.as_json(),
        "reference": None if claim is None else claim.paper,
    }
