"""Opens every picture of a folder once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from training.data.decode import Decoded, decode
from training.data.layouts import Entry
from training.data.pictures import Fault

# Pillow and hashlib work outside Python's lock, so threads keep the processors busy, and unlike
# processes they need neither a second start of Python nor a guard in the caller's script.
_WORKERS = max(2, min(8, os.cpu_count() or 2))
_AHEAD = 64


def scan(
    folder: Path,
    entries: list[Entry],
    resolution: int,
    min_side: int,
    *,
    progress: bool = True,
) -> Iterator[tuple[Entry, Decoded | Fault]]:
    """Decode the pictures of a folder, several at a time.

    Args:
        folder: where the files lie.
        entries: which files.
        resolution: side of the squares in pixels.
        min_side: see `decode`.
        progress: show a bar on standard error, if that is a terminal.

    Yields:
        Each entry with its picture or its fault, in the order given.
    """
    with (
        _progress(f"reading {folder.name}", len(entries), progress) as advance,
        ThreadPoolExecutor(_WORKERS) as workers,
    ):

        def submit(entry: Entry) -> tuple[Entry, Future[Decoded | Fault]]:
            return entry, workers.submit(
                decode, folder / entry.file, entry.file, resolution, min_side
            )

        remaining = iter(entries)
        running = deque(submit(entry) for entry in islice(remaining, _AHEAD))
        try:
            while running:
                entry, future = running.popleft()
                yield entry, future.result()
                advance()
                running.extend(submit(entry) for entry in islice(remaining, 1))
        finally:
            for _, future in running:
                future.cancel()


@contextmanager
def _progress(title: str, total: int, shown: bool) -> Iterator[Callable[[], None]]:
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
