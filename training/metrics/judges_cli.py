"""The commands that train judges: `t2i-train classifier` and `t2i-train matcher`.

Everything heavy is imported where it is used, so that `--help` and a wrong option answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from training.metrics.progress import Steps

cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where drawn or decoded pictures are kept [default: ~/.cache/t2i].",
)


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
@cache_option
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


@click.command("matcher", context_settings={"show_default": True})
@click.option("--data", required=True, help="Pictures with captions: birds:COUNT, or a folder.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for weights and configuration.",
)
@click.option(
    "--split",
    default="train",
    help="Split of DATA to learn from and be tested on; not one that eval asks after.",
)
@click.option(
    "--count",
    type=click.IntRange(4),
    help="Pictures to learn from  [default: all but those of the test, at most 10000].",
)
@click.option(
    "--test-count",
    type=click.IntRange(2),
    help="Pictures to be tested on  [default: a tenth, at most 1000].",
)
@click.option("--kimg", default=48.0, help="Thousands of pictures shown.")
@click.option(
    "--resolution",
    default=64,
    type=click.IntRange(8, 512),
    help="Side at which DATA is read: that of the models to be judged.",
)
@click.option(
    "--seed",
    default=1,
    type=click.IntRange(0),
    help="Seed of the choice of pictures, of weights and order; another than training's 0.",
)
@click.option(
    "--data-seed",
    default=2,
    type=click.IntRange(0),
    help="Seed of drawn data (birds); another than training's 0 and eval's 1.",
)
@click.option("--quiet", is_flag=True, help="Show no progress bars (none are shown in a pipe).")
@cache_option
def matcher(
    data: str,
    out: Path,
    split: str,
    count: int | None,
    test_count: int | None,
    kimg: float,
    resolution: int,
    seed: int,
    data_seed: int,
    quiet: bool,
    cache: Path | None,
) -> None:
    """Train a matcher of pictures and captions, for measuring alone.

    It tells how well pictures agree with captions: `t2i-train eval BUNDLE --matcher OUT` prints
    R-precision and a matching score by it. It is no network of any training: frozen
    EfficientNet-lite0 with a head of its own, and captions read by words and pairs of words. Prints
    how often a real picture that it did not learn from finds its caption among 100.

    \b
        t2i-train matcher --data flowers/ --out flower-matcher
        t2i-train eval runs/flowers/bundle --data flowers/ --matcher flower-matcher
        t2i-train matcher --data birds:6000 --out bird-matcher

    Exit codes: 0 trained, 1 failed (such as data without captions), 2 wrong usage.
    """  # noqa: D301 - \b keeps click from filling the examples
    from training.data.load import load_pictures, named
    from training.metrics.progress import Steps
    from training.metrics.train_matcher import MatcherTraining, train_matcher

    drawn = named(data)[0] == "birds"
    training = MatcherTraining(kimg=kimg, seed=seed)
    loaded = load_pictures(
        data,
        resolution=resolution,
        split=split,
        seed=data_seed if drawn else 0,
        cache_dir=cache,
        progress=not quiet,
    )
    looked = len(loaded) if count is None else min(len(loaded), count + (test_count or 0))
    with Steps(show=not quiet) as steps:
        made = train_matcher(
            loaded,
            training,
            count=count,
            test_count=test_count,
            data_seed=data_seed if drawn else None,
            progress=(
                steps.start("looking at pictures", looked),
                steps.start("matching", training.steps * min(training.batch, looked)),
            ),
        )
    made.save(out)
    tested = made.tested
    click.echo(f"{made.name}, learned from {made.learned.pictures} pictures")
    click.echo(
        f"R-precision {tested.r_precision:.4f} on {tested.captions} held-out pictures, "
        f"1 of {tested.choices} captions; {tested.shuffled:.4f} with shuffled captions"
    )
    click.echo(f"wrote {out}")
