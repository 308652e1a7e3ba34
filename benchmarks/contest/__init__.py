"""Contests at equal compute: who takes part, what each run gave, and the table of it.

What a run gave is kept as a file in the source tree, `results/CONTEST/NAME-SEED.json`, so a contest
that takes days can be held on one machine after another. A contest has one set of data, one judge
and one length.
"""

from __future__ import annotations

import json
import re
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from t2i.files import write_atomically
from training.errors import TrainingError
from training.reproduce.results import Spread

__all__ = [
    "RESULTS",
    "Contestant",
    "Outcome",
    "data_name",
    "filled_in",
    "keep",
    "kept",
    "means",
    "table",
]

RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- equal compute: begin -->", "<!-- equal compute: end -->"
# What the page shows of each split, and what real pictures score there.
SHOWN = ("KID", "R-precision")
SPLITS = {"": "held out", ", unseen": "unseen"}


@dataclass(frozen=True)
class Contestant:
    """A recipe under a name.

    Attributes:
        name: Of its folders and in the result.
        recipe: Its key.
        options: Of `t2i-train run`.
    """

    name: str
    recipe: str
    options: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Contestant:
        """Read `[NAME=]RECIPE [OPTIONS]`.

        Raises:
            ValueError: There is no recipe in it.
        """
        # An option may hold a sign of equality, a name stands before the first blank or sign.
        named = re.match(r"\s*([^=]+)=\s*([A-Za-z].*)", text)
        name, words = (named[1].strip(), named[2]) if named and "--" not in named[1] else ("", text)
        recipe, *options = shlex.split(words) or [""]
        if not recipe:
            raise ValueError("names no recipe; give [NAME=]RECIPE [OPTIONS]")
        return cls(name or recipe, recipe, tuple(options))

    def label(self, seed: int) -> str:
        """Return what the folder of its run of a seed is called."""
        return label(self.name, seed)


@dataclass(frozen=True)
class Outcome:
    """What one run of a contestant gave.

    Attributes:
        name: The contestant's.
        recipe: Its recipe's key.
        options: Of `t2i-train run`, as one would type them.
        seed: Of the run.
        contest: What the contest is called.
        data: Name of the data's file or folder.
        core_minutes: Processor time that the run was given.
        kimg: Thousands of pictures shown in it.
        judge: Checksum of the judge of captions.
        scores: By title, as `Score.as_json` tells them.
        commit: Of the source tree it was trained with; None where there was none.
        machine: Kind and cores.
        torch: Version.
    """

    name: str
    recipe: str
    options: str
    seed: int
    contest: str
    data: str
    core_minutes: float
    kimg: float
    judge: str
    scores: Mapping[str, Mapping[str, Any]]
    commit: str | None
    machine: str
    torch: str

    def is_of(self, contestant: Contestant, core_minutes: float) -> bool:
        """Tell whether the contestant would be run like this."""
        asked = (contestant.recipe, shlex.join(contestant.options), core_minutes)
        return (self.recipe, self.options, self.core_minutes) == asked


def label(name: str, seed: int) -> str:
    """Return what the run of a contestant of that name is called, as a file or a folder."""
    return f"{_plain(name)}-{seed}"


def data_name(data: str) -> str:
    """Return what a data set is called: its file or folder without ending, or its own name."""
    return _plain(Path(data).name.partition(".")[0]) or "data"


def keep(outcome: Outcome, results: Path) -> Path:
    """Write what a run gave and return the file."""
    folder = results / outcome.contest
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(outcome), indent=1, allow_nan=False) + "\n"
    return write_atomically(folder / f"{label(outcome.name, outcome.seed)}.json", text.encode())


def kept(results: Path, contest: str) -> dict[str, Outcome]:
    """Return what the runs of a contest gave, by the labels of their runs.

    Raises:
        TrainingError: A file is damaged.
    """
    found = {}
    for path in sorted((results / contest).glob("*.json")):
        try:
            found[path.stem] = Outcome(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(
                f"results: {path} cannot be read ({error}); remove it, and it is run again"
            ) from error
    return found


def means(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Return each score's mean and standard deviation over seeds, and what real pictures score."""
    told = {}
    for title in dict.fromkeys(title for each in outcomes for title in each.scores):
        scores = [each.scores[title] for each in outcomes if title in each.scores]
        found = Spread.of([score["value"] for score in scores])
        told[title] = {
            "value": found.mean,
            "spread": found.deviation,
            "each": list(found.values),
            "floor": scores[0]["floor"],
        }
    return told


def table(outcomes: Iterable[Outcome]) -> str:
    """Return a Markdown table: a row a contestant, the nearest to real pictures first."""
    named: dict[str, list[Outcome]] = {}
    for each in outcomes:
        named.setdefault(each.name, []).append(each)
    rows = {name: means(of) for name, of in named.items()}
    heads = {
        score + split: f"{score}, {words}"
        for score in SHOWN
        for split, words in SPLITS.items()
        if any(score + split in row for row in rows.values())
    }
    floors = [next(row[title]["floor"] for row in rows.values() if title in row) for title in heads]
    lines = [_row("run", "`t2i-train run`", "seeds", "kimg", *heads.values())]
    lines.append("|---" * (len(heads) + 4) + "|")
    lines.append(_row("*real pictures*", "", "", "", *map(_number, floors)))
    for name in sorted(rows, key=lambda name: _distance(rows[name])):
        runs = named[name]
        lines.append(
            _row(
                name,
                f"`{' '.join((runs[0].recipe, runs[0].options)).strip()}`",
                str(len(runs)),
                f"{statistics.fmean(run.kimg for run in runs):.0f}",
                *(_spread(rows[name].get(title)) for title in heads),
            )
        )
    return "\n".join(lines) + "\n"


def filled_in(page: Path, results: Path = RESULTS) -> str:
    """Return a page's text with the tables of all contests between its two marks.

    Raises:
        TrainingError: The marks are missing.
    """
    text = page.read_text("utf-8")
    if BEGIN not in text or END not in text:
        raise TrainingError(f"page: {page} has no {BEGIN} … {END}; put them where tables belong")
    before, rest = text.split(BEGIN, 1)
    parts = []
    for folder in sorted(results.glob("*/")):
        outcomes = kept(results, folder.name).values()
        minutes = " and ".join(f"{each:g}" for each in sorted({o.core_minutes for o in outcomes}))
        commits = ", ".join(dict.fromkeys(f"`{o.commit}`" for o in outcomes))
        data = ", ".join(sorted({outcome.data for outcome in outcomes}))
        judges = ", ".join(dict.fromkeys(f"`{outcome.judge[:12]}`" for outcome in outcomes))
        made = f"{data}, {minutes} core-minutes a run; commits {commits}; judge {judges}."
        parts.append(f"### {folder.name}\n\n{table(outcomes)}\n{made}\n")
    inside = "\n".join(parts)
    return f"{before}{BEGIN}\n{inside}{END}{rest.split(END, 1)[1]}"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def _distance(scores: Mapping[str, Mapping[str, Any]]) -> float:
    found = scores.get("KID")
    return float("inf") if found is None else float(found["value"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _spread(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return ""
    spread = "" if score["spread"] is None else f" ± {score['spread']:.3f}"
    return f"{score['value']:.3f}{spread}"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
