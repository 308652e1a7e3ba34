"""What every report of a measurement holds: the model, the judge, and how it was made."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich import box
from rich.table import Table

from t2i.pipeline import PipelineInfo
from training.data.pictures import PictureData
from training.metrics.picture_matcher import PictureMatcher
from training.metrics.score import Score
from training.provenance import commit, machine

FORMAT = 1

Json = dict[str, Any]


def bundle_of(info: PipelineInfo) -> Json:
    """Return what names a model."""
    return {
        "name": info.name,
        "version": info.version,
        "checksum": info.checksum,
        "encoder": info.encoder,
        "resolution": max(info.resolutions),
    }


def made_with(command: str, seconds: float) -> Json:
    """Return what was run where, and how long it took."""
    return {
        "command": command,
        "commit": commit(),
        "machine": machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seconds": round(seconds, 1),
    }


def made_in(made: Json) -> str:
    """Return what `made_with` returned, in a line."""
    return (
        f"{made['command']} (commit {made['commit']}, {made['machine']}, torch {made['torch']}, "
        f"{made['seconds']:.0f} s)"
    )


def matcher_of(matcher: PictureMatcher, asked: Sequence[PictureData] = ()) -> Json:
    """Return what names a matcher, and what it learned from.

    Args:
        matcher: the matcher.
        asked: data that it judged on, which it should not have learned from.
    """
    return {
        "name": matcher.name,
        "sha256": matcher.sha256,
        "learned": asdict(matcher.learned),
        "tested": asdict(matcher.tested),
        "may_have_learned_from_these": any(map(matcher.may_have_learned_from, asked)),
    }


def _either(numbers: Iterable[Any]) -> str:
    return " or ".join(str(number) for number in sorted(set(numbers)))


def matcher_lines(matcher: Json, scores: Sequence[Score]) -> list[str]:
    """Return what stands below a table of agreement.

    Args:
        matcher: what `matcher_of` returned.
        scores: all that was measured.
    """
    matched = [score for score in scores if "choices" in score.detail]
    choices = {score.detail["choices"] for score in matched}
    counts = {score.count for score in matched}
    tested = matcher["tested"]
    lines = [
        f"R-precision: {_either(counts)} captions a seed, each told from {_either(choices)}, its "
        f"own among them; shuffled: each picture with another's. By {matcher['name']}, which "
        f"finds {tested['r_precision']:.3f} of {tested['captions']} real pictures' own."
    ]
    if matcher["may_have_learned_from_these"]:
        lines.append("The matcher may have learned from the real pictures: do not trust them.")
    return lines


def short(value: float | None) -> str:
    """Return four digits; a dash where nothing was measured."""
    return "–" if value is None else f"{value:.4g}"


def blank_table(title: str, *headings: str) -> Table:
    """Return a table without rows; more columns may follow."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table
