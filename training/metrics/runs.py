"""What runs left behind: their scores, losses and times, read from their folders.

A run's folder holds `run.json` (what was asked), `log.jsonl` (losses on the way) and, where it was
measured, `scores.jsonl` (a line each time, see `record_scores`) or `scores.json` (the report of
`t2i-train eval --out RUN/scores.json`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from training.metrics.errors import MetricsError
from training.metrics.score import Score

LOG_FILE = "log.jsonl"
SCORES_FILE = "scores.jsonl"
REPORT_FILE = "scores.json"
RUN_FILE = "run.json"

Across = Literal["kimg", "seconds", "round"]
_NO_LOSS = ("kimg", "round", "speed")


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
            for matched in map(Score.from_json, split.get("matching", ())):
                made.append(replace(matched, name=f"{matched.name}, {name}"))
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
