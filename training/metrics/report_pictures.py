"""Puts what was measured on pictures of any kind into words: JSON for programs, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Group

from t2i.pipeline import PipelineInfo
from training.metrics.evaluate_pictures import PictureSettings
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
from training.metrics.sources import Sources


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
        "bundle": bundle_of(info),
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
        "matcher": None if matcher is None else matcher_of(matcher, [s.held for s in sources]),
        "scores": [score.as_json() for score in scores],
        "made_with": made_with(command, seconds),
    }


def picture_tables(result: Json) -> Group:
    """Return such a report as a table for a terminal of 80 columns or more."""
    table = blank_table(f"{result['bundle']['name']} on {result['data']['name']}", "measure")
    scores = [Score.from_json(each) for each in result["scores"]]
    shuffled = any(score.shuffled is not None for score in scores)
    for heading in ("drawn", "real", *(["shuffled"] if shuffled else []), "aim"):
        table.add_column(heading, justify="right", no_wrap=True)
    aims = {"lower": "low", "higher": "high", "neither": "as real"}
    for place, score in enumerate(scores):
        spread = f" ± {score.spread:.2g}" if score.spread else ""
        others = [short(score.floor), *([short(score.shuffled)] if shuffled else [])]
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
        lines += matcher_lines(result["matcher"], scores)
    lines += [
        f"Bundle {bundle['name']} {bundle['version']}, {bundle['checksum'][:16]}.",
        made_in(made),
    ]
    return Group(table, *lines)


def _is_unseen(score: Score) -> bool:
    return score.name.endswith(", unseen")


def _is_of(score: Score, split: str) -> bool:
    return _is_unseen(score) == (split == "unseen")
