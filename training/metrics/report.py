"""Puts measured scores into words: JSON for programs, tables for people, a grid to look at."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table

from training.data.birds import ATTRIBUTE_NAMES
from training.data.birds.dataset import DRAWING_VERSION
from training.metrics.evaluate import EvaluationSettings, SplitScores, VarietyScore

FORMAT = 1
HEAD = ATTRIBUTE_NAMES.index("crown")
"""Captions call the crown the head, and the head is drawn in its colour."""

_SPLIT_NAMES = {"train": "training birds", "val": "seen", "unseen": "unseen"}

Json = dict[str, Any]


def report(
    scores: Sequence[SplitScores],
    settings: EvaluationSettings,
    *,
    bundle: Mapping[str, object],
    classifier: Mapping[str, object],
    command: str,
    seconds: float,
) -> Json:
    """Return everything measured, with all that is needed to measure it again, as JSON values.

    Args:
        scores: one entry a split.
        settings: what was measured, and on how much.
        bundle: what names the measured model.
        classifier: what names the judge.
        command: what was run.
        seconds: how long it took.
    """
    return {
        "format": FORMAT,
        "bundle": dict(bundle),
        "data": {"name": "birds", "drawing_version": DRAWING_VERSION, "seed": settings.data_seed},
        "settings": {**asdict(settings), "seeds": list(settings.seeds)},
        "classifier": dict(classifier),
        "splits": {_SPLIT_NAMES[each.split]: _split(each, settings) for each in scores},
        "made_with": {
            "command": command,
            "commit": _commit(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "seconds": round(seconds, 1),
        },
    }


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
    """Return a report as tables for a terminal."""
    splits: Json = result["splits"]
    seeds, bundle = result["settings"]["seeds"], result["bundle"]
    agreement = Table(title=f"Attribute accuracy of {bundle['name']}, mean ± spread over seeds")
    agreement.add_column("attribute")
    for name, split in splits.items():
        agreement.add_column(f"{name}\n{split['captions']} captions", justify="right")
        agreement.add_column("asked", justify="right")
        agreement.add_column("judge on\nreal", justify="right")
    for name in (*ATTRIBUTE_NAMES, "mean"):
        cells = []
        for split in splits.values():
            row = split["attributes"].get(name)
            if row is None:
                cells += [_plain(split["mean"], 3), "", _fixed(split["classifier_mean"], 4)]
            else:
                cells += [_plain(row, 3), str(row["asked"]), _fixed(row["classifier"], 4)]
        label = "crown (head colour)" if name == "crown" else name
        agreement.add_row(label, *cells, style="bold" if name in ("crown", "mean") else "")
        if name == ATTRIBUTE_NAMES[-1]:
            agreement.add_section()

    distances = Table(title=f"Fidelity and variety, seeds {', '.join(map(str, seeds))}")
    for heading in ("measure", "split", "generated", "real", "ratio", "counts"):
        distances.add_column(
            heading, justify="left" if heading in ("measure", "split", "counts") else "right"
        )
    for name, split in splits.items():
        kid = split["kid"]
        counts = (
            f"{kid['generated']} a seed against {kid['real']}, {kid['subsets']} subsets of "
            f"{kid['subset_size']}, resize {kid['resize']}"
        )
        floor = f"{_fixed(kid['floor'], 4)} (floor)"
        distances.add_row(kid["name"], name, _plain(kid, 4), floor, "", counts)
        variety = split["variety"]
        counts = f"{variety['captions']} captions × {variety['pictures_of_each']} a seed"
        for measure, row in variety.items():
            if isinstance(row, dict):
                generated, data = _plain(row["generated"], 4), _plain(row["data"], 4)
                ratio = _fixed(row["ratio"], 2)
                distances.add_row(measure, name, generated, data, ratio, counts)
    made = result["made_with"]
    notes = Table(show_header=False, box=None)
    notes.add_row("bundle", f"{bundle['name']} {bundle['version']}, {bundle['checksum'][:16]}")
    notes.add_row("data", f"birds, drawings {result['data']['drawing_version']}, "
                  f"seed {result['data']['seed']}")  # fmt: skip
    notes.add_row("judge", f"{result['classifier']['path']}, {result['classifier']['sha256'][:16]}")
    notes.add_row("made by", f"{made['command']}  (commit {made['commit']}, {made['machine']}, "
                  f"torch {made['torch']}, {made['seconds']:.0f} s)")  # fmt: skip
    return Group(agreement, distances, notes)


def _plain(row: Json, digits: int) -> str:
    if row["value"] is None:
        return "–"
    return f"{row['value']:.{digits}f} ± {row['spread']:.{digits}f}"


def _fixed(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
