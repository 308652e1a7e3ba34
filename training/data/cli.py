"""The commands `t2i-train data ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from t2i.errors import T2IError

if TYPE_CHECKING:
    from rich.table import Table

    from training.data.check import FolderReport, Spread
    from training.data.check_sets import SetReport
    from training.data.pictures import PictureData

_SHOWN = 20


@click.group()
def data() -> None:
    """Look after data sets."""


@data.command()
@click.argument("source", metavar="FOLDER|SHARDS|NAME")
@click.option(
    "--resolution",
    type=click.IntRange(8, 4096),
    default=64,
    show_default=True,
    help="Side in pixels that you want to train at.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@click.option("--strict", is_flag=True, help="Remarks (copies, cut captions) count as problems.")
@click.option("--progress/--no-progress", default=True, help="Show a bar on a terminal.")
@click.option("--download", is_flag=True, help="Fetch NAME if it is not on this machine.")
def check(
    source: str, resolution: int, as_json: bool, strict: bool, progress: bool, download: bool
) -> None:
    """Open every picture of FOLDER or SHARDS and report what training would find.

    Or read the data set NAME (mnist, stacked-mnist, cifar10, svhn, each also as NAME:PATH; ring8,
    grid25, mixture1d, gaussians, characters, parallel-text) and report what is in it.

    Exit code: 0 when training would use every file, 1 when there are problems, 2 when FOLDER,
    SHARDS or NAME cannot be read as a data set.

    The layouts of FOLDER (or of a .tar or .zip of it): pictures with metadata.jsonl (file_name with
    text or captions; label and split may be added), metadata.csv or captions.csv; CUB-200-2011 and
    Oxford-102 with Reed's captions; COCO captions; a .txt beside each picture; or class folders.

    SHARDS are tar files of WebDataset: a folder of them, data/{000..012}.tar, or an address that
    fsspec reads, such as s3://bucket/{000..012}.tar.
    """
    # Loading numpy and Pillow would slow down every --help.
    from training.data.check import check_folder
    from training.data.check_sets import check_set
    from training.data.load import BIRDS, named
    from training.data.locate import recognise
    from training.data.shards import is_pattern

    name, rest = named(source)
    folder = Path(source).expanduser()
    try:
        root = Path(rest).expanduser() if rest else None
        if name is None and not is_pattern(source) and (known := recognise(folder)) is not None:
            name, root = known.name, folder
        if name is not None and name != BIRDS:
            found = check_set(name, root, download=download)
            _finish_set(found, as_json=as_json, strict=strict)
        report = check_folder(source, resolution=resolution, progress=progress)
    except T2IError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _print(report)
    sys.exit(0 if report.clean and not (strict and report.remarks) else 1)


def _finish_set(report: SetReport, *, as_json: bool, strict: bool) -> NoReturn:
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        _print_set(report)
    sys.exit(0 if report.clean and not (strict and report.remarks) else 1)


@data.command()
@click.argument("source")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Picture to write, such as sheet.png.",
)
@click.option("--split", default="train", show_default=True, help="Split to show.")
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=30,
    show_default=True,
    help="Number of pictures, from the first.",
)
@click.option(
    "--columns", type=click.IntRange(1, 50), default=6, show_default=True, help="Pictures a row."
)
@click.option(
    "--resolution",
    type=click.IntRange(8, 512),
    default=160,
    show_default=True,
    help="Side of each picture in pixels.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Other birds.")
def sheet(
    source: str, out: Path, split: str, count: int, columns: int, resolution: int, seed: int
) -> None:
    """Lay pictures of SOURCE on a sheet, each with its first caption or else its label.

    SOURCE is "birds", mnist, stacked-mnist, cifar10, svhn, a folder, or shards.
    """
    from training.data.load import load_pictures, named
    from training.data.locate import PICTURE_SETS
    from training.data.sets import STACKED
    from training.data.sheet import contact_sheet

    try:
        # Sets of small pictures are not decoded anew to be looked at: the sheet enlarges them.
        small = named(source)[0] in (*PICTURE_SETS, STACKED)
        shown = load_pictures(
            source,
            resolution=None if small else resolution,
            split=split,
            count=count,
            seed=seed,
        )
        contact_sheet(shown.pictures, _said(shown), out, columns=columns, picture_size=resolution)
    except T2IError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    click.echo(f"{len(shown)} pictures on {out}")


def _said(data: PictureData) -> list[str]:
    """The first caption of each picture, else the name of its class."""
    said = [texts[0] if texts else "" for texts in data.captions]
    if data.labels is not None:
        names = [data.label_names[label] if label >= 0 else "" for label in data.labels]
        said = [text or name for text, name in zip(said, names, strict=True)]
    return said


def _print_set(report: SetReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    for one in report.splits:
        table = Table("", "", title=f"{report.name}: {one.split}", show_header=False)
        table.add_row("found in", _printable(one.found_in))
        table.add_row("layout", one.layout)
        table.add_row("samples", f"{one.count} of {one.expected}")
        table.add_row("shape of one", " x ".join(str(size) for size in one.sample_shape))
        table.add_row("values", f"{one.values[0]:g} to {one.values[1]:g}")
        table.add_row("classes", str(one.classes))
        if one.vocabulary:
            table.add_row("vocabulary", f"{one.vocabulary} tokens")
        table.add_row("labels", ", ".join(f"{key} {n}" for key, n in one.labels.items()) or "-")
        table.add_row("copies", str(one.copies))
        table.add_row("fingerprint", one.fingerprint[:12])
        console.print(table)
    for remark in report.remarks:
        console.print(Text(f"note: {remark}"))
    console.print(Text(report.verdict, style="green" if report.clean else "yellow"))


def _print(report: FolderReport) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(_facts(report))
    if report.labels:
        console.print(_counts("label", report.labels))
    if report.faults:
        console.print(_faults(report))
        if len(report.faults) > _SHOWN:
            console.print(f"... and {len(report.faults) - _SHOWN} more; --json names all")
    for groups, title in ((report.same_bytes, "the same file"), (report.same_look, "look alike")):
        for group in groups[:5]:
            console.print(f"{title}: {_listed(group)}")
        if len(groups) > 5:
            console.print(f"{title}: {len(groups) - 5} more groups; --json names all")
    for remark in report.remarks:
        console.print(Text(f"note: {remark}"))
    if report.hint:
        console.print(Text(f"hint: {report.hint}"))
    style = "green" if report.clean else "yellow" if report.trains else "red"
    console.print(Text(report.verdict, style=style))


def _facts(report: FolderReport) -> Table:
    from rich.table import Table

    table = Table("", "", title=_printable(report.folder), title_justify="left", show_header=False)
    table.add_row("captions from", _printable(report.layout))
    table.add_row("pictures", f"{report.usable} usable, {len(report.faults)} faulty files")
    how = "named by the folder" if report.splits_named else "by content"
    table.add_row("splits", f"{_listed_counts(report.splits)} ({how})")
    table.add_row("labels", str(len(report.labels)))
    table.add_row("captions", f"{report.captions}, {report.distinct_captions} of them different")
    table.add_row("captions a picture", _spread(report.captions_a_picture))
    table.add_row("characters a caption", _spread(report.caption_characters))
    table.add_row("words a caption", _spread(report.caption_words))
    table.add_row("over-long captions", str(report.captions_cut))
    table.add_row("width", _spread(report.widths, " px"))
    table.add_row("height", _spread(report.heights, " px"))
    table.add_row(f"enlarged to {report.resolution} px", str(report.enlarged))
    table.add_row("pixel modes", _listed_counts(report.modes))
    table.add_row("file formats", _listed_counts(report.formats))
    table.add_row("copies", f"{sum(len(group) - 1 for group in report.same_bytes)} byte for byte")
    table.add_row("look-alikes", f"{sum(len(group) for group in report.same_look)} pictures")
    return table


def _counts(title: str, counts: dict[str, int]) -> Table:
    from rich.table import Table

    table = Table(title, "pictures", title_justify="left")
    for name, count in sorted(counts.items(), key=lambda item: -item[1])[:_SHOWN]:
        table.add_row(_printable(name), str(count))
    if len(counts) > _SHOWN:
        table.add_row(f"{len(counts) - _SHOWN} more", str(sum(sorted(counts.values())[:-_SHOWN])))
    return table


def _faults(report: FolderReport) -> Table:
    from rich.table import Table

    table = Table("file", "fault", "detail", title="faulty files", title_justify="left")
    for fault in report.faults[:_SHOWN]:
        table.add_row(_printable(fault.file), str(fault.kind), _printable(fault.detail))
    return table


def _spread(spread: Spread | None, unit: str = "") -> str:
    if spread is None:
        return "-"
    return f"{spread.min:g} to {spread.max:g}{unit}, median {spread.median:g}{unit}"


def _listed_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{_printable(name)} {count}" for name, count in counts.items()) or "-"


def _listed(names: Iterable[str]) -> str:
    shown = [_printable(name) for name in names]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def _printable(name: str) -> str:
    """Return a name from a disk so that no terminal chokes on it and rich reads no markup in it."""
    plain = name.encode("utf-8", "backslashreplace").decode()
    plain = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return plain.replace("[", "\\[")
