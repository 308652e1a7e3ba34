"""Several runs side by side: one table of their scores, one plot of how they got there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.metrics.errors import MetricsError
from training.metrics.runs import Across, Measured, Run
from training.metrics.score import Score, finite_or_none

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.table import Table

_MOST_LOSS_PANELS = 4

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
