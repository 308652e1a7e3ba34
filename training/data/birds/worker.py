"""A process that renders every n-th bird of a data set into its file; see `dataset`."""

from __future__ import annotations

import sys
from typing import cast

import numpy as np

from training.data.birds.attributes import Split
from training.data.birds.dataset import render_range


def main(arguments: list[str]) -> None:
    """Render birds number, number + step, ... below count, reporting on standard output."""
    path, split = arguments[:2]
    seed, number, count, step = map(int, arguments[2:])
    pictures = np.lib.format.open_memmap(path, mode="r+")
    render_range(
        pictures,
        cast(Split, split),
        seed,
        range(number, count, step),
        lambda done: print(done, flush=True),
    )
    pictures.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
