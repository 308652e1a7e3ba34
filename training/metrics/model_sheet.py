"""One sheet of several models: the same captions, the same seeds, a real picture first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t2i.pipeline import Pipeline
from training.metrics.asking import ask, draw, words_of
from training.metrics.grid import check_grid_path, write_groups
from training.metrics.sources import AskedSplit, load_sources


def write_sheet(
    path: Path,
    bundles: Mapping[str, Path],
    data: str,
    *,
    split: AskedSplit = "val",
    captions: int = 8,
    seeds: Sequence[int] = range(3),
    cache_dir: Path | None = None,
) -> Path:
    """Write what several bundles draw when asked after the same real pictures; return `path`.

    A row for each real picture: what was asked (the caption that the first bundle was asked with,
    where they differ in what they take), the real picture, and a group of columns for each bundle.
    All are asked with the same captions or labels and the same seeds.

    Args:
        path: ends in .png, .webp, .jpg or .jpeg.
        bundles: title -> folder.
        data: a name or a folder, as `--data` takes it.
        split: of the data.
        captions: rows at most.
        seeds: columns of each group.
        cache_dir: where decoded pictures are kept.

    Raises:
        BundleError: a bundle is missing or damaged.
        DataError: the data cannot be used.
        MetricsError: a bundle cannot be asked after them, or the path cannot be written to.
    """
    check_grid_path(path)
    models = {title: Pipeline.from_pretrained(folder) for title, folder in bundles.items()}
    sources = load_sources(
        data,
        resolution=max(max(model.info.resolutions) for model in models.values()),
        count=captions,
        split=split,
        cache_dir=cache_dir,
    )
    rows = sources.real
    asked = {
        title: ask(model.info, sources.held, rows).conditions for title, model in models.items()
    }

    def drawn_by(title: str) -> Callable[[int], NDArray[np.uint8]]:
        return lambda seed: draw(models[title], asked[title], [seed] * len(rows))

    return write_groups(
        path,
        [words_of(condition) for condition in next(iter(asked.values()))],
        sources.held.pictures[rows],
        {title: drawn_by(title) for title in models},
        seeds=seeds,
    )
