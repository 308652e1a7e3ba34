"""The command `t2i-train scorer`: a scorer for a trained bundle, learned from other pictures."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["scorer"]


@click.command("scorer", context_settings={"show_default": True})
@click.argument("bundle")
@click.option(
    "--data",
    required=True,
    metavar="birds[:COUNT]|FOLDER",
    help="Captioned pictures that the bundle's generator was not trained on.",
)
@click.option("--split", default="train", help="Split of the data, such as val of a folder.")
@click.option(
    "--data-seed",
    default=4242,
    type=click.IntRange(0),
    help="Seed of data that are drawn; another than training had.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the bundle with its scorer goes; the same folder replaces the bundle.",
)
@click.option("--steps", default=1200, type=click.IntRange(1), help="Steps of the optimiser.")
@click.option("--batch-size", default=96, type=click.IntRange(2), help="Pictures a step.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Seed of weights and batches.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def scorer(
    bundle: str,
    data: str,
    split: str,
    data_seed: int,
    out: Path,
    steps: int,
    batch_size: int,
    seed: int,
    quiet: bool,
) -> None:
    """Add a scorer to BUNDLE, by which `best_of` chooses the best of several candidates.

    A generator pleases the matcher that it was trained with, whatever its pictures show. So the
    scorer is a network of its own, and learns from other pictures than the generator did; the very
    pictures of its training are refused.

    \b
        t2i-train scorer runs/birds/bundle --data birds:6000 --out runs/birds/bundle
        t2i-train scorer runs/flowers/bundle --data flowers/ --split val --out runs/flowers/bundle
        t2i generate "a yellow flower" --best-of 8 --model runs/flowers/bundle --out flower.png
    """  # noqa: D301 - \b keeps click from filling the examples
    from training.scorer import ScorerTraining, add_scorer

    made = add_scorer(
        bundle,
        out,
        ScorerTraining(
            data=data,
            split=split,
            data_seed=data_seed,
            steps=steps,
            batch_size=batch_size,
            seed=seed,
        ),
        progress=not quiet,
    )
    click.echo(f"bundle: {made.folder}")
