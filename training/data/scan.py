"""Opens every picture of a place once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from training.data.decode import Decoded, decode
from training.data.listing import Entry
from training.data.pictures import Fault
from training.data.places import Place
from training.data.trees import Load

# Pillow and hashlib work outside Python's lock, so threads keep the processors busy, and unlike
# processes they need neither a second start of Python nor a guard in the caller's script.
_WORKERS = max(2, min(8, os.cpu_count() or 2))
_AHEAD = 64


def scan(
    place: Place,
    resolution: int,
    min_side: int,
    *,
    progress: bool = True,
) -> Iterator[tuple[Entry, Decoded | Fault]]:
    """Decode the pictures of a place, several at a time.

    Args:
        place: where the files lie.
        resolution: side of the squares in pixels.
        min_side: see `decode`.
        progress: show a bar on standard error, if that is a terminal.

    Yields:
        Each entry with its picture or its fault, in the order of the place.

    Raises:
        DataError: an archive or shard is damaged or out of reach.
    """
    total = None if place.streamed else len(place.listing.entries)
    with (
        _progress(f"reading {place.listing.name}", total, progress) as advance,
        ThreadPoolExecutor(_WORKERS) as workers,
    ):

        def submit(entry: Entry, load: Load) -> tuple[Entry, Future[Decoded | Fault]]:
            return entry, workers.submit(decode, load, entry.file, resolution, min_side, entry.box)

        remaining = place.pictures()
        running = deque(submit(*one) for one in islice(remaining, _AHEAD))
        try:
            while running:
                entry, future = running.popleft()
                yield entry, future.result()
                advance()
                running.extend(submit(*one) for one in islice(remaining, 1))
        finally:
            for _, future in running:
                future.cancel()


@contextmanager
def _progress(title: str, total: int | None, shown: bool) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    ) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
