"""The command `t2i-train eval`.

Everything heavy is imported where it is used, so that `--help` and a wrong option answer at once.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t2i.files import write_atomically

if TYPE_CHECKING:
    from rich.console import RenderableType

    from t2i.pipeline import Pipeline

FEATURES = ("lite0", "inception", "classifier")


@click.command("eval", context_settings={"show_default": True})
@click.argument("bundle")
@click.option(
    "--data",
    default="birds",
    help="What to ask for: birds, another data set by name, or a folder of pictures.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--count", default=2000, type=click.IntRange(2), help="Pictures asked for at once.")
@click.option(
    "--seeds",
    default=3,
    type=click.IntRange(1, 100),
    help="Draws of everything that is asked for, from seed 0; ± is over them.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    default=("val", "unseen"),
    type=click.Choice(["val", "unseen"]),
    help="val: classes or combinations that training showed; unseen: those held out, where the "
    "data have such. Repeat for both.",
)
@click.option(
    "--data-seed",
    default=1,
    type=click.IntRange(0),
    help="Seed of the birds that are asked for; another than training watched.",
)
@click.option(
    "--features",
    type=click.Choice(FEATURES),
    default="lite0",
    help="Feature network of all distances.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True),
    help="Inception's file, or the folder of a classifier, for --features.",
)
@click.option(
    "--resize",
    type=int,
    help="Side to which pictures are brought for features  [default: 128 for lite0, else its own].",
)
@click.option("--subsets", default=100, type=click.IntRange(1), help="Subsets of the KID.")
@click.option(
    "--subset-size", default=500, type=click.IntRange(2), help="Pictures in each, at most --count."
)
@click.option(
    "--variety-captions",
    default=100,
    type=click.IntRange(1),
    help="Captions (or labels) drawn several times to see how the pictures differ.",
)
@click.option(
    "--variety-pictures", default=8, type=click.IntRange(2), help="Pictures of each of those."
)
@click.option(
    "--classifier",
    "classifier_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Classifier to judge with: of attributes for birds [default: the one that ships], of "
    "labels for other data.",
)
@click.option(
    "--matcher",
    "matcher_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Matcher to judge with how pictures agree with captions; see t2i-train matcher.",
)
@click.option(
    "--neighbours",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Other data than birds: write the drawn pictures that come nearest to training pictures, "
    "beside these, to this picture.",
)
@click.option(
    "--grid",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a sheet of what was asked for, and some seeds, to this picture, such as grid.png.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the JSON to this file as well.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Run that left the bundle: its scores.jsonl gets these scores, for t2i-train compare.",
)
@click.option("--quiet", is_flag=True, help="Show no progress bars (none are shown in a pipe).")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where drawn or decoded pictures are kept [default: ~/.cache/t2i].",
)
def evaluate(bundle: str, data: str, as_json: bool, out: Path | None, **options: Any) -> None:
    """Measure BUNDLE (a folder, or a name such as default) on pictures that it never saw.

    Birds: prints, for combinations that training showed and for those it did not, whether the
    pictures show what the captions state, how near they come to real ones, and how much the
    pictures of one caption differ. Other data: FID, KID, precision and recall, copies of training
    pictures, variety, and with --classifier how often the label asked for is seen. With --matcher,
    how well pictures agree with their captions. Beside each figure stands what real pictures score.

    \b
        t2i-train eval default
        t2i-train eval runs/birds/bundle --count 200 --seeds 1 --grid look.png
        t2i-train eval default --json > scores.json
        t2i-train eval runs/flowers/bundle --data flowers/ --grid look.png
        t2i-train eval runs/flowers/bundle --data flowers/ --matcher flower-matcher
        t2i-train eval runs/digits/bundle --data mnist --classifier digit-judge

    Exit codes: 0 measured, 1 failed (such as a damaged bundle, or a classifier of other
    drawings, or a number that cannot be used), 2 wrong usage.
    """  # noqa: D301 - \b keeps click from filling the examples
    from rich.console import Console

    from t2i.pipeline import Pipeline
    from training.metrics.grid import check_grid_path

    # What can be wrong is found before minutes are spent on measuring.
    if options["grid"] is not None:
        check_grid_path(options["grid"])
    pipeline = Pipeline.from_pretrained(bundle)
    measured = (
        _eval_birds(pipeline, options)
        if data == "birds"
        else _eval_pictures(pipeline, data, options)
    )
    if out is not None:
        write_atomically(out, json.dumps(measured.result, indent=2).encode() + b"\n")
    if as_json:
        click.echo(json.dumps(measured.result, indent=2))
    else:
        Console().print(measured.tables)


@dataclass(frozen=True)
class _Measured:
    """What came of a measurement: for programs, and for people."""

    result: dict[str, Any]
    tables: RenderableType


def _eval_birds(pipeline: Pipeline, options: Mapping[str, Any]) -> _Measured:
    from training.metrics.attributes import WEIGHTS_FILE, AttributeClassifier
    from training.metrics.birds_judge import SHIPPED
    from training.metrics.evaluate_birds import EvaluationSettings, PipelinePainter, measure
    from training.metrics.grid import write_grid
    from training.metrics.picture_matcher import PictureMatcher
    from training.metrics.reference import load_reference
    from training.metrics.report import report, tables

    usuals = {"features": "lite0", "weights": None, "run": None, "neighbours": None}
    for name, usual in usuals.items():
        if options[name] != usual:
            raise click.UsageError(f"--{name} is for other data than birds")
    started, count, progress = time.monotonic(), options["count"], not options["quiet"]
    settings = EvaluationSettings(
        count=count,
        seeds=tuple(range(options["seeds"])),
        splits=tuple(name for name in ("val", "unseen") if name in options["splits"]),
        data_seed=options["data_seed"],
        resize=options["resize"] or 128,
        subsets=options["subsets"],
        subset_size=min(options["subset_size"], count),
        variety_captions=min(options["variety_captions"], count),
        variety_pictures=options["variety_pictures"],
    )
    folder = options["classifier_folder"] or SHIPPED
    judge = AttributeClassifier.load(folder)
    matcher_folder = options["matcher_folder"]
    matcher = None if matcher_folder is None else PictureMatcher.load(matcher_folder)
    painter = PipelinePainter(pipeline)
    scores = measure(
        painter,
        judge,
        settings,
        matcher=matcher,
        cache_dir=options["cache"],
        show_progress=progress,
    )
    if options["grid"] is not None:
        references = [
            load_reference(
                each.split,
                count,
                size=painter.resolution,
                seed=settings.data_seed,
                cache_dir=options["cache"],
                progress=progress,
            )
            for each in scores
        ]
        write_grid(options["grid"], painter, references, seeds=range(6))
    result = report(
        scores,
        settings,
        info=pipeline.info,
        classifier={
            "path": "shipped" if folder == SHIPPED else str(folder),
            "sha256": hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest(),
        },
        matcher=matcher,
        command=shlex.join(["t2i-train", *sys.argv[1:]]),
        seconds=time.monotonic() - started,
    )
    return _Measured(result, tables(result))


def _eval_pictures(pipeline: Pipeline, data: str, options: Mapping[str, Any]) -> _Measured:
    import numpy as np

    from training.data.errors import DataError
    from training.metrics.asking import ask, draw, words_of
    from training.metrics.evaluate_pictures import PictureSettings, measure_pictures
    from training.metrics.grid import check_grid_path, write_rows
    from training.metrics.picture_classifier import PictureClassifier
    from training.metrics.picture_matcher import PictureMatcher
    from training.metrics.report_pictures import picture_report, picture_tables
    from training.metrics.runs import record_scores
    from training.metrics.sources import ASKED_SPLITS, load_sources

    started, progress = time.monotonic(), not options["quiet"]
    features = options["features"]
    settings = PictureSettings(
        count=options["count"],
        seeds=tuple(range(options["seeds"])),
        features=features,
        resize=options["resize"] or (128 if features == "lite0" else None),
        weights=options["weights"],
        subsets=options["subsets"],
        subset_size=options["subset_size"],
        variety_conditions=options["variety_captions"],
        variety_pictures=options["variety_pictures"],
    )
    if options["neighbours"] is not None:
        check_grid_path(options["neighbours"])
    folder, matcher_folder = options["classifier_folder"], options["matcher_folder"]
    judge = None if folder is None else PictureClassifier.load(folder)
    matcher = None if matcher_folder is None else PictureMatcher.load(matcher_folder)
    sources = []
    for split in (name for name in ASKED_SPLITS if name in options["splits"]):
        try:
            sources.append(
                load_sources(
                    data,
                    resolution=max(pipeline.info.resolutions),
                    count=settings.count,
                    split=split,
                    data_seed=options["data_seed"],
                    cache_dir=options["cache"],
                    progress=progress,
                )
            )
        except DataError:
            # Few data name unseen pictures; only who asks for nothing else is told.
            if not sources:
                raise
    measured = [
        measure_pictures(
            pipeline,
            each,
            settings,
            judge=judge,
            matcher=matcher,
            search=options["neighbours"] is not None,
            show_progress=progress,
        )
        for each in sources
    ]
    scores = [score for each in measured for score in each.scores]
    if options["neighbours"] is not None and measured[0].nearest is not None:
        measured[0].nearest.write(options["neighbours"])
    if options["grid"] is not None:
        rows = [each.real[: 12 // len(sources)] for each in sources]
        asked = [
            condition
            for each, some in zip(sources, rows, strict=True)
            for condition in ask(pipeline.info, each.held, some).conditions
        ]
        write_rows(
            options["grid"],
            [words_of(condition) for condition in asked],
            np.concatenate([s.held.pictures[some] for s, some in zip(sources, rows, strict=True)]),
            lambda seed: draw(pipeline, asked, [seed] * len(asked)),
            seeds=range(6),
        )
    if options["run"] is not None:
        kimg = pipeline.bundle.config.training.get("kimg", 0.0)
        record_scores(options["run"], float(str(kimg)), scores)
    result = picture_report(
        scores,
        settings,
        info=pipeline.info,
        sources=sources,
        matcher=matcher,
        command=shlex.join(["t2i-train", *sys.argv[1:]]),
        seconds=time.monotonic() - started,
    )
    return _Measured(result, picture_tables(result))
