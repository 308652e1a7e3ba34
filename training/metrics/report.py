"""Puts what was measured on illustrated birds into words: JSON for programs, tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group

from t2i.pipeline import PipelineInfo
from training.data.birds import ATTRIBUTE_NAMES
from training.data.birds.dataset import DRAWING_VERSION
from training.metrics.evaluate_birds import EvaluationSettings, SplitScores, VarietyScore
from training.metrics.picture_matcher import PictureMatcher
from training.metrics.report_parts import (
    FORMAT,
    Json,
    blank_table,
    bundle_of,
    made_in,
    made_with,
    matcher_lines,
    matcher_of,
    short,
)
from training.metrics.score import Score

HEAD = ATTRIBUTE_NAMES.index("crown")
"""Captions call the crown the head, and the head is drawn in its colour."""

_SPLIT_NAMES = {"train": "training birds", "val": "seen", "unseen": "unseen"}


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
        "bundle": bundle_of(info),
        "data": {"name": "birds", "drawing_version": DRAWING_VERSION, "seed": settings.data_seed},
        "settings": {
            **asdict(settings),
            "seeds": list(settings.seeds),
            "splits": list(settings.splits),
        },
        "classifier": dict(classifier),
        "matcher": None if matcher is None else matcher_of(matcher),
        "splits": {_SPLIT_NAMES[each.split]: _split(each, settings) for each in scores},
        "made_with": made_with(command, seconds),
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


def tables(result: Json) -> Group:
    """Return a report as tables for a terminal of 80 columns or more."""
    splits: Json = result["splits"]
    bundle, settings, made = result["bundle"], result["settings"], result["made_with"]
    seeds = ", ".join(map(str, settings["seeds"]))
    agreement = blank_table(f"Attribute accuracy of {bundle['name']} (seeds {seeds})", "attribute")
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

    distances = blank_table("Fidelity and variety", "measure", "split")
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
            beside = f"{short(score.floor)}, shuffled {short(score.shuffled)}"
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
        made_in(made),
    )


def _plain(row: Json, digits: int) -> str:
    if row["value"] is None:
        return "–"
    spread = f" ± {row['spread']:.{digits}f}" if len(row["each"]) > 1 else ""
    return f"{row['value']:.{digits}f}{spread}"


def _fixed(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _matcher_lines_of(result: Json) -> list[str]:
    if result["matcher"] is None:
        return []
    scores = [Score.from_json(s) for split in result["splits"].values() for s in split["matching"]]
    return matcher_lines(result["matcher"], scores)
