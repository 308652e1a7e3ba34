"""The commands `t2i-train eval` and `t2i-train classifier`.

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
    from training.metrics.progress import Steps

FEATURES = ("lite0", "inception", "classifier")

_cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where drawn or decoded pictures are kept [default: ~/.cache/t2i].",
)


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
    help="Draws of every caption, from seed 0; of other data than birds always one.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    default=("val", "unseen"),
    type=click.Choice(["val", "unseen"]),
    help="Birds; val: combinations that training showed; unseen: those held out. Repeat for both.",
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
@_cache_option
def evaluate(bundle: str, data: str, as_json: bool, out: Path | None, **options: Any) -> None:
    """Measure BUNDLE (a folder, or a name such as default) on pictures that it never saw.

    Birds: prints, for combinations that training showed and for those it did not, whether the
    pictures show what the captions state, how near they come to real ones, and how much the
    pictures of one caption differ. Other data: FID, KID, precision and recall, copies of training
    pictures, variety, and with --classifier how often the label asked for is seen. Beside each
    figure stands what real pictures score.

    \b
        t2i-train eval default
        t2i-train eval runs/birds/bundle --count 200 --seeds 1 --grid look.png
        t2i-train eval default --json > scores.json
        t2i-train eval runs/flowers/bundle --data flowers/ --grid look.png
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
    from training.metrics.reference import load_reference
    from training.metrics.report import report, tables

    for name, usual in (("features", "lite0"), ("weights", None), ("run", None)):
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
    painter = PipelinePainter(pipeline)
    scores = measure(painter, judge, settings, cache_dir=options["cache"], show_progress=progress)
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
        command=shlex.join(["t2i-train", *sys.argv[1:]]),
        seconds=time.monotonic() - started,
    )
    return _Measured(result, tables(result))


def _eval_pictures(pipeline: Pipeline, data: str, options: Mapping[str, Any]) -> _Measured:
    from training.metrics.evaluate_pictures import (
        PictureSettings,
        ask,
        draw,
        load_sources,
        measure_pictures,
        words_of,
    )
    from training.metrics.grid import write_rows
    from training.metrics.picture_classifier import PictureClassifier
    from training.metrics.report import picture_report, picture_tables
    from training.metrics.runs import record_scores

    started, progress = time.monotonic(), not options["quiet"]
    features = options["features"]
    settings = PictureSettings(
        count=options["count"],
        features=features,
        resize=options["resize"] or (128 if features == "lite0" else None),
        weights=options["weights"],
        subsets=options["subsets"],
        subset_size=options["subset_size"],
        variety_conditions=options["variety_captions"],
        variety_pictures=options["variety_pictures"],
    )
    folder = options["classifier_folder"]
    judge = None if folder is None else PictureClassifier.load(folder)
    sources = load_sources(
        data,
        resolution=max(pipeline.info.resolutions),
        count=settings.count,
        cache_dir=options["cache"],
        progress=progress,
    )
    scores = measure_pictures(pipeline, sources, settings, judge=judge, show_progress=progress)
    if options["grid"] is not None:
        rows = sources.real[:12]
        asked = ask(pipeline.info, sources.held, rows)
        write_rows(
            options["grid"],
            [words_of(condition) for condition in asked.conditions],
            sources.held.pictures[rows],
            lambda seed: draw(pipeline, asked.conditions, [seed] * len(rows)),
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
        command=shlex.join(["t2i-train", *sys.argv[1:]]),
        seconds=time.monotonic() - started,
    )
    return _Measured(result, picture_tables(result))


@click.command("classifier", context_settings={"show_default": True})
@click.argument("data", metavar="birds|DATA")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for weights, configuration and card.",
)
@click.option(
    "--count",
    type=click.IntRange(2),
    help="Pictures to learn from  [default: 24000 birds, else all but those of the test].",
)
@click.option(
    "--test-count",
    type=click.IntRange(2),
    help="Pictures to be tested on  [default: 4000 birds, else a tenth].",
)
@click.option(
    "--kimg", type=float, help="Thousands of pictures shown  [default: 64 for birds, else 60]."
)
@click.option(
    "--resolution", default=32, type=click.IntRange(8, 512), help="Side of DATA's pictures."
)
@click.option("--mirror", is_flag=True, help="Mirror DATA at random: right for things, not digits.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Seed of weights and order.")
@_cache_option
def classifier(
    data: str,
    out: Path,
    count: int | None,
    test_count: int | None,
    kimg: float | None,
    resolution: int,
    mirror: bool,
    seed: int,
    cache: Path | None,
) -> None:
    """Train a classifier on DATA and print its accuracy on pictures that it did not learn from.

    For birds it reads all attributes; the project ships one, train another when the drawings have
    changed. For other data, a folder with labels, it tells the labels apart, and serves class
    accuracy, Inception Score and, as a feature network, FID and KID.

    \b
        t2i-train classifier birds --out my-judge
        t2i-train eval default --classifier my-judge
        t2i-train classifier digits/ --resolution 28 --out digit-judge
    """  # noqa: D301 - \b keeps click from filling the examples
    from training.metrics.progress import Steps

    with Steps() as steps:
        if data == "birds":
            lines = _fit_birds(out, count or 24_000, test_count or 4_000, kimg, seed, cache, steps)
        else:
            lines = _fit_labels(
                data, out, count, test_count, kimg, resolution, mirror, seed, cache, steps
            )
    for line in lines:
        click.echo(line)
    click.echo(f"wrote {out}")


def _fit_birds(
    out: Path,
    count: int,
    test_count: int,
    kimg: float | None,
    seed: int,
    cache: Path | None,
    steps: Steps,
) -> list[str]:
    from training.metrics.birds_judge import make_birds_classifier, save_with_card
    from training.metrics.train_classifier import ClassifierTraining

    training = ClassifierTraining(kimg=64.0 if kimg is None else kimg, seed=seed)
    made, measured = make_birds_classifier(
        training,
        count=count,
        test_count=test_count,
        cache_dir=cache,
        progress=steps.start("training the classifier", training.steps * training.batch),
    )
    save_with_card(made, out)
    shares = [*zip(made.attributes, measured.each, strict=True), ("mean", measured.mean)]
    return [f"{name:14s} {share:.4f}" for name, share in shares]


def _fit_labels(
    data: str,
    out: Path,
    count: int | None,
    test_count: int | None,
    kimg: float | None,
    resolution: int,
    mirror: bool,
    seed: int,
    cache: Path | None,
    steps: Steps,
) -> list[str]:
    import numpy as np

    from training.data.load import load_pictures
    from training.metrics.errors import MetricsError
    from training.metrics.picture_classifier import FitSettings, fit

    loaded = load_pictures(data, resolution=resolution, cache_dir=cache, progress=False)
    labels = loaded.labels
    if labels is None or not (labels >= 0).any():
        raise MetricsError(
            "data", data, f"{data} has no labels", "give a folder of one folder for each class"
        )
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(labels >= 0))
    spare = test_count or max(2, len(rows) // 10)
    if len(rows) < spare + (count or 2):
        raise MetricsError(
            "count",
            count,
            f"and {spare} to be tested on are more than the {len(rows)} labelled pictures",
            "use fewer",
        )
    learnt = rows[spare:][:count]
    settings = FitSettings(kimg=60.0 if kimg is None else kimg, mirror=mirror, seed=seed)
    made = fit(
        loaded.pictures[learnt],
        labels[learnt],
        loaded.pictures[rows[:spare]],
        labels[rows[:spare]],
        title=loaded.name,
        label_names=loaded.label_names,
        settings=settings,
        progress=steps.start("training the classifier", settings.steps * settings.batch),
    )
    made.save(out)
    return [made.name, f"{'accuracy':14s} {made.accuracy:.4f} on {made.held_out} held-out pictures"]
