"""Several runs side by side: one table of their scores, one plot of how they got there.

A run's folder holds `run.json` (what was asked), `log.jsonl` (losses on the way) and, where it was
measured, `scores.jsonl` (a line each time, see `record_scores`) or `scores.json` (the report of
`t2i-train eval --out RUN/scores.json`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from training.metrics.errors import MetricsError
from training.metrics.score import Score, finite_or_none

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.table import Table

LOG_FILE = "log.jsonl"
SCORES_FILE = "scores.jsonl"
REPORT_FILE = "scores.json"
RUN_FILE = "run.json"

Across = Literal["kimg", "seconds", "round"]
_NO_LOSS = ("kimg", "round", "speed")
_MOST_LOSS_PANELS = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """One score at one moment of a run; `kimg` is None where nobody noted it."""

    kimg: float | None
    score: Score


@dataclass(frozen=True, slots=True)
class Run:
    """What a run's folder tells.

    Attributes:
        name: of the folder; with its parents where two are named alike.
        recipe: its key; empty when unknown.
        data: what it learnt from.
        seed: of the run; None when unknown.
        kimg: thousands of pictures shown, one entry a report.
        seconds: spent on training until then, without pauses, measuring and drawing.
        rounds: done until then.
        losses: name -> one entry a report, NaN where it was not reported.
        measured: all scores, in the order in which they were made.
    """

    name: str
    recipe: str = ""
    data: str = ""
    seed: int | None = None
    kimg: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    rounds: tuple[int, ...] = ()
    losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    measured: tuple[Measured, ...] = ()

    @property
    def pictures_per_second(self) -> float | None:
        """Mean speed; None before the first report."""
        return 1000 * self.kimg[-1] / self.seconds[-1] if self.seconds else None

    def at(self, kimg: float, across: Across) -> float | None:
        """Return where a moment lies on an axis; None when the log does not reach there."""
        if across == "kimg":
            return kimg
        values = self.seconds if across == "seconds" else self.rounds
        for place, value in zip(self.kimg, values, strict=True):
            if place >= kimg - 1e-9:
                return float(value)
        return float(values[-1]) if values else None


def record_scores(run: Path, kimg: float, scores: Iterable[Score]) -> None:
    """Append scores of a run at a moment to its `scores.jsonl`.

    Raises:
        MetricsError: the folder does not exist.
    """
    if not run.is_dir():
        raise MetricsError("run", str(run), "is no folder", "give the --out of a run")
    line = {"kimg": kimg, "scores": [score.as_json() for score in scores]}
    with (run / SCORES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_run(folder: Path, name: str | None = None) -> Run:
    """Read what a run left.

    Raises:
        MetricsError: the folder holds neither a log nor scores, or a file is damaged.
    """
    if not any((folder / file).is_file() for file in (LOG_FILE, SCORES_FILE, REPORT_FILE)):
        raise MetricsError(
            "run", str(folder), f"{folder} holds no {LOG_FILE} and no scores", "give a run's --out"
        )
    asked = _object(folder / RUN_FILE)
    kimg, seconds, rounds, losses = _read_log(folder / LOG_FILE)
    seed = asked.get("seed")
    return Run(
        name=name or folder.resolve().name,
        recipe=str(asked.get("recipe", "")),
        data=str(asked.get("data", "")),
        seed=seed if isinstance(seed, int) else None,
        kimg=kimg,
        seconds=seconds,
        rounds=rounds,
        losses=losses,
        measured=(*_read_scores(folder / SCORES_FILE), *_read_report(folder / REPORT_FILE, kimg)),
    )


def read_runs(folders: Sequence[Path]) -> tuple[Run, ...]:
    """Read several runs; those whose folders are named alike get their parents' names too.

    Raises:
        MetricsError: see `read_run`; or no run is given.
    """
    if not folders:
        raise MetricsError("run", 0, "is not given", "give one folder or more")
    paths = [folder.resolve() for folder in folders]
    depth, names = 1, [path.name for path in paths]
    while len(set(names)) < len(set(paths)) and depth < max(len(path.parts) for path in paths):
        depth += 1
        names = ["/".join(path.parts[-depth:]) for path in paths]
    return tuple(read_run(path, name) for path, name in zip(paths, names, strict=True))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of lines; a last line that was cut off by a crash is left out."""
    if not path.is_file():
        return
    texts = path.read_text("utf-8").split("\n")
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
            if not isinstance(value, dict):
                raise ValueError("no object")
        except ValueError as error:
            if number == len(texts):
                return
            raise MetricsError(
                path.name, text[:40], f"line {number} of {path} is no JSON object", "repair it"
            ) from error
        yield value


def _read_log(
    path: Path,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...], dict[str, tuple[float, ...]]]:
    rows: list[dict[str, Any]] = []
    for row in _lines(path):
        for key in _NO_LOSS:
            if not isinstance(row.get(key), int | float):
                raise MetricsError(path.name, row.get(key), f"{path} lacks {key}", "use its log")
        # A run that crashed and went on from its checkpoint tells the rounds since then again.
        while rows and rows[-1]["round"] >= row["round"]:
            rows.pop()
        rows.append(row)
    seconds, total, before = [], 0.0, 0.0
    for row in rows:
        if row["speed"] > 0:
            total += 1000 * (row["kimg"] - before) / row["speed"]
        before = row["kimg"]
        seconds.append(total)
    names = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key not in _NO_LOSS and isinstance(value, int | float)
    )
    return (
        tuple(float(row["kimg"]) for row in rows),
        tuple(seconds),
        tuple(int(row["round"]) for row in rows),
        {name: tuple(float(row.get(name, "nan")) for row in rows) for name in names},
    )


def _read_scores(path: Path) -> list[Measured]:
    found = []
    for line in _lines(path):
        kimg, scores = line.get("kimg"), line.get("scores")
        if not isinstance(scores, list) or not isinstance(kimg, int | float):
            raise MetricsError(path.name, line, f"{path} lacks kimg or scores", "record it anew")
        found += [Measured(float(kimg), Score.from_json(score)) for score in scores]
    return found


def _read_report(path: Path, kimg: Sequence[float]) -> list[Measured]:
    """Take the main figures from a report of `t2i-train eval`, at the end of the run."""
    report = _object(path)
    if not report:
        return []
    end = kimg[-1] if kimg else None
    found = []
    try:
        if "scores" in report:
            return [Measured(end, Score.from_json(score)) for score in report["scores"]]
        for name, split in report["splits"].items():
            count, own = int(split["pictures"]), int(split["classifier_pictures"])
            distance = split["kid"]
            made = [
                Score(
                    name=f"attribute accuracy, {name}",
                    value=float(split["mean"]["value"]),
                    floor=split["classifier_mean"],
                    count=count,
                    floor_count=own,
                    network="classifier of birds",
                    spread=float(split["mean"]["spread"]),
                    better="higher",
                ),
                Score(
                    name=f"KID, {name}",
                    value=float(distance["value"]),
                    floor=distance["floor"],
                    count=int(distance["generated"]),
                    real=int(distance["real"]),
                    floor_count=int(distance["floor_real"]),
                    network=str(distance["name"]).removesuffix("-KID"),
                    resize=int(distance["resize"]),
                    spread=float(distance["spread"]),
                    detail={key: distance[key] for key in ("subsets", "subset_size")},
                ),
            ]
            found += [Measured(end, score) for score in made]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MetricsError(
            path.name, str(path), f"{path} is no report of an evaluation ({error!r})", "remove it"
        ) from error
    return found


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise MetricsError(
            path.name, str(path), f"{path} is no JSON object", "remove it"
        ) from error
    return value


_Kind = tuple[object, ...]


def _kind(score: Score) -> _Kind:
    """What must agree for two scores to be comparable."""
    return (
        score.name, score.network, score.resize, score.count, score.real,
        tuple(sorted(score.detail.items())),
    )  # fmt: skip


def columns(runs: Sequence[Run]) -> dict[str, _Kind]:
    """Return the scores that the runs hold, by a title that tells apart what is not comparable."""
    kinds: dict[_Kind, Score] = {}
    for run in runs:
        for each in run.measured:
            kinds.setdefault(_kind(each.score), each.score)
    names = [score.name for score in kinds.values()]
    titled: dict[str, _Kind] = {}
    for kind, score in kinds.items():
        title = score.name
        if names.count(score.name) > 1:
            parts = [score.network or "no network", f"{score.count} samples"]
            if score.resize:
                parts.insert(1, f"resize {score.resize}")
            title = f"{score.name} [{', '.join(parts)}]"
        if title in titled:
            title = f"{title} ({len(titled) + 1})"
        titled[title] = kind
    return titled


def _of_kind(run: Run, kind: _Kind) -> list[Measured]:
    return [each for each in run.measured if _kind(each.score) == kind]


def _best(found: Sequence[Measured]) -> Measured | None:
    """The best of several, None when there is no better or worse."""
    way = found[0].score.better
    numbers = [each for each in found if math.isfinite(each.score.value)]
    if way == "neither" or not numbers:
        return None
    return (min if way == "lower" else max)(numbers, key=lambda each: each.score.value)


def as_json(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the comparison as JSON values."""
    titles = columns(runs)
    return {
        "format": 1,
        "runs": [
            {
                "name": run.name,
                "recipe": run.recipe,
                "data": run.data,
                "seed": run.seed,
                "kimg": run.kimg[-1] if run.kimg else None,
                "seconds": run.seconds[-1] if run.seconds else None,
                "pictures_per_second": run.pictures_per_second,
                "losses": {name: finite_or_none(values[-1]) for name, values in run.losses.items()},
                "scores": {
                    title: _cell(found)
                    for title, kind in titles.items()
                    if (found := _of_kind(run, kind))
                },
            }
            for run in runs
        ],
    }


def _cell(found: Sequence[Measured]) -> dict[str, Any]:
    best = _best(found)
    return {
        "final": {"kimg": found[-1].kimg, **found[-1].score.as_json()},
        "best": None if best is None else {"kimg": best.kimg, **best.score.as_json()},
        "measured": len(found),
    }


def rows(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Return headings and one row of cells a run: how long, how fast, and each score."""
    titles = columns(runs)
    headings = ["run", "recipe", "data", "seed", "kimg", "time", "pictures/s", *titles]
    table = []
    for run in runs:
        speed = run.pictures_per_second
        table.append(
            [
                run.name,
                run.recipe or "–",
                run.data or "–",
                "–" if run.seed is None else str(run.seed),
                f"{run.kimg[-1]:.1f}" if run.kimg else "–",
                _duration(run.seconds[-1]) if run.seconds else "–",
                "–" if speed is None else f"{speed:.0f}",
                *(_words(_of_kind(run, kind)) for kind in titles.values()),
            ]
        )
    return headings, table


def _words(found: Sequence[Measured]) -> str:
    if not found:
        return "–"
    last, best = found[-1].score, _best(found)
    text = f"{last.value:.4g}" + (f" ± {last.spread:.2g}" if last.spread else "")
    if best is not None and best is not found[-1] and best.score.value != last.value:
        at = "" if best.kimg is None else f" at {best.kimg:.1f}"
        text += f" (best {best.score.value:.4g}{at})"
    return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def notes(runs: Sequence[Run]) -> list[str]:
    """Return a line for each score that tells floor, counts, network and resize."""
    lines = []
    for title, kind in columns(runs).items():
        score = next(_of_kind(run, kind)[-1].score for run in runs if _of_kind(run, kind))
        aim = {
            "lower": "lower is better",
            "higher": "higher is better",
            "neither": "aim: the floor",
        }
        inside = str(score).partition(" (")[2].removesuffix(")")
        lines.append(f"{title}: {aim[score.better]}; {inside}")
    return lines


def as_markdown(runs: Sequence[Run]) -> str:
    """Return the comparison as a table in Markdown, with the notes below."""
    headings, table = rows(runs)
    lines = ["| " + " | ".join(_escaped(row)) + " |" for row in (headings, *table)]
    lines.insert(1, "|" + "---|" * len(headings))
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(runs))]) + "\n"


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def as_table(runs: Sequence[Run]) -> Table:
    """Return the comparison as a table for a terminal, the notes as its caption."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    headings, table = rows(runs)
    # A run is a column of its own where scores are many: a terminal is taller than wide.
    made = Table(box=box.SIMPLE_HEAD, caption_justify="left", caption=Text("\n".join(notes(runs))))
    made.add_column("")
    for row in table:
        made.add_column(Text(row[0]), justify="right")
    for index, heading in enumerate(headings[1:], 1):
        made.add_row(Text(heading), *(Text(row[index]) for row in table))
    return made


def plot(runs: Sequence[Run], across: Across = "kimg") -> Image:
    """Return a panel for each score, its floor dashed; without any score, panels of the losses.

    Raises:
        MetricsError: the runs hold nothing that can be drawn.
    """
    from training.plots import Series, line_chart, panels

    charts = []
    for title, kind in columns(runs).items():
        series, low, high = [], float("inf"), float("-inf")
        floors: dict[float, int] = {}
        for index, run in enumerate(runs):
            points = [
                (place, each.score.value)
                for each in _of_kind(run, kind)
                if each.kimg is not None and (place := run.at(each.kimg, across)) is not None
            ]
            if not points:
                continue
            xs, ys = zip(*points, strict=True)
            series.append(Series(run.name, xs, ys, colour=index))
            low, high = min(low, *xs), max(high, *xs)
            floor = _of_kind(run, kind)[-1].score.floor
            if floor is not None:
                floors.setdefault(floor, index)
        if not series:
            continue
        across_all = [low, high] if high > low else [low - 1, high + 1]
        for floor, index in floors.items():
            series.append(Series("", across_all, [floor, floor], dashed=True, colour=index))
        charts.append(line_chart(series, title=title, x_label=across))
    if not charts:
        names = dict.fromkeys(name for run in runs for name in run.losses)
        for name in list(names)[:_MOST_LOSS_PANELS]:
            series = [
                Series(run.name, _axis(run, across), run.losses[name], colour=index)
                for index, run in enumerate(runs)
                if name in run.losses
            ]
            charts.append(line_chart(series, title=name, x_label=across))
    if not charts:
        raise MetricsError("run", len(runs), "holds nothing to draw", "train or measure it first")
    return panels(charts)


def _axis(run: Run, across: Across) -> Sequence[float]:
    if across == "kimg":
        return run.kimg
    return run.seconds if across == "seconds" else run.rounds


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
