"""Puts measured scores into words: JSON for programs, tables for people, a grid to look at."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.console import Group
from rich.table import Table

from t2i.pipeline import PipelineInfo
from training.data.birds import ATTRIBUTE_NAMES
from training.data.birds.dataset import DRAWING_VERSION
from training.data.pictures import PictureData
from training.metrics.evaluate_birds import EvaluationSettings, SplitScores, VarietyScore
from training.metrics.evaluate_pictures import PictureSettings
from training.metrics.picture_matcher import PictureMatcher
from training.metrics.score import Score
from training.metrics.sources import Sources

FORMAT = 1
HEAD = ATTRIBUTE_NAMES.index("crown")
"""Captions call the crown the head, and the head is drawn in its colour."""

_SPLIT_NAMES = {"train": "training birds", "val": "seen", "unseen": "unseen"}

Json = dict[str, Any]


def report(
    scores: Sequence[SplitScores],
    settings: EvaluationSettings,
    *,
    info: PipelineInfo,
    classifier: Mapping[str, object],
    matcher: PictureMatcher | None = None,
    command: str,
    seconds: float,
) -> Json:
    """Return everything measured, with all that is needed to measure it again, as JSON values.

    Args:
        scores: one entry a split.
        settings: what was measured, and on how much.
        info: of the measured model.
        classifier: what names the judge.
        matcher: what judged how pictures agree with whole captions.
        command: what was run.
        seconds: how long it took.
    """
    return {
        "format": FORMAT,
        "bundle": _bundle(info),
        "data": {"name": "birds", "drawing_version": DRAWING_VERSION, "seed": settings.data_seed},
        "settings": {
            **asdict(settings),
            "seeds": list(settings.seeds),
            "splits": list(settings.splits),
        },
        "classifier": dict(classifier),
        "matcher": None if matcher is None else _matcher(matcher),
        "splits": {_SPLIT_NAMES[each.split]: _split(each, settings) for each in scores},
        "made_with": _made_with(command, seconds),
    }


def picture_report(
    scores: Sequence[Score],
    settings: PictureSettings,
    *,
    info: PipelineInfo,
    sources: Sequence[Sources],
    matcher: PictureMatcher | None = None,
    command: str,
    seconds: float,
) -> Json:
    """Return what was measured on pictures of any kind, as JSON values.

    Args:
        scores: what was measured.
        settings: on how much.
        info: of the measured model.
        sources: real pictures that it was compared with, an entry a split.
        matcher: what judged how pictures agree with captions.
        command: what was run.
        seconds: how long it took.
    """
    weights = None if settings.weights is None else settings.weights.name
    first = sources[0]
    return {
        "format": FORMAT,
        "bundle": _bundle(info),
        "data": {
            "name": first.held.name,
            "fingerprint": first.held.fingerprint,
            "held_out": first.held_out,
            "splits": {
                each.split: {
                    "fingerprint": each.held.fingerprint,
                    "pictures": len(each.held),
                    "real": len(each.real),
                    "spare": len(each.spare),
                    "held_out": each.held_out,
                    "spare_of": "training" if each.spare_of is each.training else each.split,
                }
                for each in sources
            },
        },
        "settings": {**asdict(settings), "weights": weights, "seeds": list(settings.seeds)},
        "matcher": None if matcher is None else _matcher(matcher, [s.held for s in sources]),
        "scores": [score.as_json() for score in scores],
        "made_with": _made_with(command, seconds),
    }


def _matcher(matcher: PictureMatcher, asked: Sequence[PictureData] = ()) -> Json:
    return {
        "name": matcher.name,
        "sha256": matcher.sha256,
        "learned": asdict(matcher.learned),
        "tested": asdict(matcher.tested),
        "may_have_learned_from_these": any(map(matcher.may_have_learned_from, asked)),
    }


def picture_tables(result: Json) -> Group:
    """Return such a report as a table for a terminal of 80 columns or more."""
    table = _table(f"{result['bundle']['name']} on {result['data']['name']}", "measure")
    scores = [Score.from_json(each) for each in result["scores"]]
    shuffled = any(score.shuffled is not None for score in scores)
    for heading in ("drawn", "real", *(["shuffled"] if shuffled else []), "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    aims = {"lower": "low", "higher": "high", "neither": "as real"}
    for place, score in enumerate(scores):
        spread = f" ± {score.spread:.2g}" if score.spread else ""
        others = [_short(score.floor), *([_short(score.shuffled)] if shuffled else [])]
        ends = place + 1 < len(scores) and _is_unseen(scores[place + 1]) != _is_unseen(score)
        table.add_row(
            score.name,
            f"{score.value:.4g}{spread}",
            *others,
            aims[score.better],
            end_section=ends,
        )
    bundle, made, seeds = result["bundle"], result["made_with"], result["settings"]["seeds"]
    over = f"seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else "subsets"
    first = scores[0]
    lines = [f"Features {first.network}, resize {first.resize}; ± over {over}."]
    for name, split in result["data"]["splits"].items():
        kid = next(s for s in scores if s.name.startswith("KID") and _is_of(s, name))
        source = "training pictures" if split["spare_of"] == "training" else "others of them"
        lines.append(
            f"{name}: {kid.count} drawn a seed against {split['real']} real pictures; floor from "
            f"{split['spare']} {source}."
            f"{'' if split['held_out'] else ' The model may have learned from these pictures.'}"
        )
    if result["matcher"] is not None:
        lines += _matcher_lines(result["matcher"], scores)
    lines += [
        f"Bundle {bundle['name']} {bundle['version']}, {bundle['checksum'][:16]}.",
        _made_in(made),
    ]
    return Group(table, *lines)


def _is_unseen(score: Score) -> bool:
    return score.name.endswith(", unseen")


def _is_of(score: Score, split: str) -> bool:
    return _is_unseen(score) == (split == "unseen")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _matcher_lines_of(result: Json) -> list[str]:
    if result["matcher"] is None:
        return []
    scores = [Score.from_json(s) for split in result["splits"].values() for s in split["matching"]]
    return _matcher_lines(result["matcher"], scores)


def _either(numbers: Iterable[Any]) -> str:
    return " or ".join(str(number) for number in sorted(set(numbers)))


def _matcher_lines(matcher: Json, scores: Sequence[Score]) -> list[str]:
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


def _bundle(info: PipelineInfo) -> Json:
    return {
        "name": info.name,
        "version": info.version,
        "checksum": info.checksum,
        "encoder": info.encoder,
        "resolution": max(info.resolutions),
    }


def _made_with(command: str, seconds: float) -> Json:
    return {
        "command": command,
        "commit": _commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "seconds": round(seconds, 1),
    }


def _made_in(made: Json) -> str:
    return (
        f"{made['command']} (commit {made['commit']}, {made['machine']}, torch {made['torch']}, "
        f"{made['seconds']:.0f} s)"
    )


def _split(scores: SplitScores, settings: EvaluationSettings) -> Json:
    shares = scores.attribute_accuracy
    asked = scores.agreement[0].total
    judge = scores.classifier.each
    kids = [each.value for each in scores.kid]
    floor, first = scores.kid_floor, scores.kid[0]
    return {
        "split": scores.split,
        "fingerprint": scores.fingerprint,
        "captions": settings.count,
        "pictures": settings.count * len(settings.seeds),
        "head": _spread(shares[:, HEAD]),
        "mean": _spread([each.mean for each in scores.agreement]),
        "classifier_mean": _number(scores.classifier.mean),
        "classifier_pictures": int(scores.classifier.total[0]),
        "attributes": {
            name: {
                **_spread(shares[:, index]),
                "asked": int(asked[index]),
                "classifier": _number(judge[index]),
            }
            for index, name in enumerate(ATTRIBUTE_NAMES)
        },
        "kid": {
            "name": f"{scores.features}-KID",
            **_spread(kids),
            "floor": _number(floor.value),
            "floor_spread_over_subsets": _number(floor.spread),
            "real": first.real,
            "generated": first.other,
            "floor_real": floor.other,
            "subsets": first.subsets,
            "subset_size": first.subset_size,
            "resize": settings.resize,
        },
        "variety": {
            "captions": settings.variety_captions,
            "pictures_of_each": settings.variety_pictures,
            f"{scores.features}-distance": _variety(scores.feature_variety),
            "1-MS-SSIM": _variety(scores.pixel_variety),
        },
        "matching": [score.as_json() for score in scores.matched],
    }


def _variety(score: VarietyScore) -> Json:
    return {
        "generated": _spread(score.generated),
        "data": _spread(score.data),
        "ratio": _number(score.ratio),
    }


def _spread(values: Sequence[float] | NDArray[np.float64]) -> Json:
    """Mean and standard deviation over seeds (over all seeds, not an estimate for others)."""
    return {
        "value": _number(np.mean(values)),
        "spread": _number(np.std(values)),
        "each": [_number(value) for value in values],
    }


def _number(value: float | np.floating[Any]) -> float | None:
    """Six digits; None where nothing was measured, since JSON knows no NaN."""
    return round(float(value), 6) if np.isfinite(value) else None


def _commit() -> str | None:
    """Return the commit of the source tree this runs from, None when it is no source tree."""
    here = Path(__file__).parent
    try:
        top = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return top.stdout.strip() or None


def tables(result: Json) -> Group:
    """Return a report as tables for a terminal of 80 columns or more."""
    splits: Json = result["splits"]
    bundle, settings, made = result["bundle"], result["settings"], result["made_with"]
    seeds = ", ".join(map(str, settings["seeds"]))
    agreement = _table(f"Attribute accuracy of {bundle['name']} (seeds {seeds})", "attribute")
    for name in splits:
        for heading in (name, "asked", "judge"):
            agreement.add_column(heading, justify="right", no_wrap=True)
    rows = {
        name: [split["attributes"][name] for split in splits.values()] for name in ATTRIBUTE_NAMES
    }
    rows["mean"] = [
        {**split["mean"], "asked": split["captions"], "classifier": split["classifier_mean"]}
        for split in splits.values()
    ]
    for name, cells in rows.items():
        texts = [
            text
            for cell in cells
            for text in (_plain(cell, 3), str(cell["asked"]), _fixed(cell["classifier"], 3))
        ]
        label = "crown (head)" if name == "crown" else name
        agreement.add_row(label, *texts, style="bold" if name in ("crown", "mean") else "")
        if name == ATTRIBUTE_NAMES[-1]:
            agreement.add_section()

    distances = _table("Fidelity and variety", "measure", "split")
    for heading in ("generated", "real", "ratio"):
        distances.add_column(heading, justify="right", no_wrap=True)
    for name, split in splits.items():
        kid = split["kid"]
        distances.add_row(kid["name"], name, _plain(kid, 4), f"floor {_fixed(kid['floor'], 4)}", "")
        for measure, row in split["variety"].items():
            if isinstance(row, dict):
                generated, data = _plain(row["generated"], 3), _plain(row["data"], 3)
                distances.add_row(measure, name, generated, data, _fixed(row["ratio"], 2))
        for score in map(Score.from_json, split["matching"]):
            spread = f" ± {score.spread:.3f}" if score.spread else ""
            beside = f"{_short(score.floor)}, shuffled {_short(score.shuffled)}"
            distances.add_row(score.name, name, f"{score.value:.3f}{spread}", beside, "")
        distances.add_section()

    return Group(
        agreement,
        distances,
        f"{settings['count']} captions a split, one picture for each seed; "
        "± over seeds; judge: the classifier on real pictures.",
        f"KID: {kid['generated']} generated a seed against {kid['real']} real, "
        f"{kid['subsets']} subsets of {kid['subset_size']}, resize {kid['resize']}; variety: "
        f"{settings['variety_captions']} captions × {settings['variety_pictures']} a seed.",
        f"Bundle {bundle['name']} {bundle['version']}, {bundle['checksum'][:16]}; birds, "
        f"drawings {result['data']['drawing_version']}, seed {result['data']['seed']}; judge "
        f"{result['classifier']['path']}, {result['classifier']['sha256'][:16]}.",
        *_matcher_lines_of(result),
        _made_in(made),
    )


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _plain(row: Json, digits: int) -> str:
    if row["value"] is None:
        return "–"
    spread = f" ± {row['spread']:.{digits}f}" if len(row["each"]) > 1 else ""
    return f"{row['value']:.{digits}f}{spread}"


def _fixed(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
