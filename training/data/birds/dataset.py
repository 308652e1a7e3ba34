"""The illustrated birds as a data set: rendered once, kept on disk, mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from t2i.errors import InvalidInput
from training.data.birds.attributes import ATTRIBUTES, SPLITS, Bird, Split, codes_of, sample_bird
from training.data.birds.captions import Caption, describe
from training.data.birds.drawing import render
from training.data.decoded import cache_root
from training.data.errors import DataError
from training.data.pictures import PictureData

DRAWING_VERSION = "2"
"""Changes whenever a picture or a caption of the same seed does; it is part of the fingerprint."""

CAPTIONS_PER_PICTURE = 5
MIN_SIZE, MAX_SIZE = 64, 256
_ALONE_BELOW = 256
_REPORT_EVERY = 32
_PARTIAL = ".partial-"
_HERE = f"@{socket.gethostname()}-"
_WORKER = "training.data.birds.worker"


@dataclass(frozen=True)
class BirdTruth:
    """Knows which captions are true of which birds.

    Attributes:
        attributes: codes of the birds, int8 (n, n_attributes).
        claims: codes that the captions state, int8 (n_captions, n_attributes), -1 where a
            caption leaves the attribute open.
    """

    attributes: NDArray[np.int8]
    claims: NDArray[np.int8]

    def holds(self, pictures: NDArray[np.int64], captions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each caption is true of its picture: bool (n,).

        Args:
            pictures: indices of pictures, (n,).
            captions: indices of captions in flat order, (n,).
        """
        said = self.claims[captions]
        result: NDArray[np.bool_] = ((said < 0) | (said == self.attributes[pictures])).all(axis=1)
        return result

    def agreement(
        self, pictures: NDArray[np.int64], captions: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """How much of what each caption says is true of each picture: float32 (n, m), in [0, 1].

        Args:
            pictures: indices of pictures, (n,).
            captions: indices of captions in flat order, (m,).
        """
        said, true = self.claims[captions], self.attributes[pictures]
        false = np.zeros((len(pictures), len(captions)), np.int16)
        for claim, value in zip(said.T, true.T, strict=True):
            false += (claim >= 0) & (claim != value[:, None])
        said_at_all = np.maximum((said >= 0).sum(axis=1), 1)
        return np.asarray(1.0 - false / said_at_all, np.float32)


@dataclass(frozen=True, kw_only=True)
class BirdData(PictureData):
    """Illustrated birds with all that is true of them.

    Attributes:
        attributes: int8 (n, n_attributes), in the order of `ATTRIBUTES`.
        claims: int8 (n_captions, n_attributes), -1 where the caption does not say.
    """

    attributes: NDArray[np.int8]
    claims: NDArray[np.int8]


def bird_at(split: Split, seed: int, index: int) -> tuple[Bird, tuple[Caption, ...]]:
    """The bird number `index` of a split, and its captions.

    It depends on nothing but the arguments. Captions of the unseen split each state a held-out
    combination.
    """
    rng = _rng(split, seed, index)
    bird = sample_bird(rng, split)
    return bird, describe(bird, rng, CAPTIONS_PER_PICTURE, bird.held_out())


def _rng(split: Split, seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, SPLITS.index(split), index])


def birds(
    split: Split,
    count: int,
    size: int = 64,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> BirdData:
    """`count` illustrated birds of a split, `size` pixels wide.

    The pictures are rendered once by `workers` processes (by default one a core) and mapped
    into memory from `cache_dir` (by default `cache_root()`/birds) ever after. The first birds
    of a larger count are the birds of a smaller one.

    Args:
        split: "train", "val" or "unseen"; unseen birds show combinations that the others lack.
        count: number of birds, 1 or more.
        size: 64 to 256.
        seed: 0 or more; another seed gives other birds.
        cache_dir: where the pictures are kept.
        progress: show a progress bar on standard error while rendering.
        workers: number of processes; the pictures do not depend on it.

    Raises:
        InvalidInput: an argument is out of its range.
        DataError: a rendering process failed.
    """
    _check(split, count, size, seed, workers)
    fingerprint = _fingerprint(split, count, size, seed)
    root = cache_root() / "birds" if cache_dir is None else Path(cache_dir)
    folder = root / f"birds-{split}-{count}-{size}-{fingerprint[:16]}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        _clear_left_overs(root)
        partial = root / f"{_PARTIAL}{os.getpid()}{_HERE}{secrets.token_hex(4)}"
        partial.mkdir()
        try:
            _make(partial, split, count, size, seed, progress, workers or os.cpu_count() or 1)
            try:
                partial.rename(folder)
            except OSError:
                # Another process made the same birds meanwhile; theirs are as good.
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return _load(folder, fingerprint)


def _clear_left_overs(root: Path) -> None:
    """Remove what processes of this machine that were killed have left unfinished."""
    for folder in root.glob(f"{_PARTIAL}*{_HERE}*"):
        process = folder.name.removeprefix(_PARTIAL).split("@")[0]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            # Alive, and another user's.
            continue


def _check(split: str, count: int, size: int, seed: int, workers: int | None) -> None:
    if split not in SPLITS:
        raise InvalidInput("split", split, "is no split", f"use one of {', '.join(SPLITS)}")
    if count < 1:
        raise InvalidInput("count", count, "is not positive", "ask for 1 bird or more")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InvalidInput("size", size, "is out of range", f"use {MIN_SIZE} to {MAX_SIZE} pixels")
    if seed < 0:
        raise InvalidInput("seed", seed, "is negative", "use 0 or more")
    if workers is not None and workers < 1:
        raise InvalidInput("workers", workers, "is not positive", "use 1 process or more")


def _fingerprint(split: Split, count: int, size: int, seed: int) -> str:
    settings = {
        "data": "illustrated birds",
        "version": DRAWING_VERSION,
        "split": split,
        "count": count,
        "size": size,
        "seed": seed,
        "captions": CAPTIONS_PER_PICTURE,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _load(folder: Path, fingerprint: str) -> BirdData:
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    attributes = np.load(folder / "attributes.npy")
    claims = np.load(folder / "claims.npy")
    texts = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    return BirdData(
        name="birds",
        fingerprint=fingerprint,
        pictures=pictures,
        captions=tuple(tuple(captions) for captions in texts),
        labels=None,
        label_names=(),
        truth=BirdTruth(attributes, claims),
        attributes=attributes,
        claims=claims,
        attribute_sizes=tuple(len(values) for values in ATTRIBUTES.values()),
    )


def _make(
    folder: Path, split: Split, count: int, size: int, seed: int, progress: bool, workers: int
) -> None:
    pictures = np.lib.format.open_memmap(
        folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=(count, size, size, 3)
    )
    pictures.flush()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not progress,
    ) as bar:
        task = bar.add_task(f"drawing birds ({split})", total=count, speed="")

        def advance(done: int) -> None:
            bar.advance(task, done)
            speed = bar.tasks[0].speed
            bar.update(task, speed=f"{speed:.0f} pictures/s" if speed else "")

        if count < _ALONE_BELOW or workers == 1:
            render_range(pictures, split, seed, range(count), advance)
            _write_facts(folder, split, count, seed)
        else:
            with _Workers(folder, split, seed, count, min(workers, count), advance) as crew:
                _write_facts(folder, split, count, seed)
                crew.wait()


def render_range(
    pictures: NDArray[np.uint8],
    split: Split,
    seed: int,
    indices: range,
    advance: Callable[[int], None],
) -> None:
    """Render some birds into their places in `pictures`, (n, size, size, 3)."""
    fresh = 0
    for index in indices:
        bird = sample_bird(_rng(split, seed, index), split)
        pictures[index] = render(bird, pictures.shape[1])
        fresh += 1
        if fresh == _REPORT_EVERY:
            advance(fresh)
            fresh = 0
    if fresh:
        advance(fresh)


def _write_facts(folder: Path, split: Split, count: int, seed: int) -> None:
    attributes: list[NDArray[np.int8]] = []
    claims: list[NDArray[np.int8]] = []
    texts: list[list[str]] = []
    for index in range(count):
        bird, captions = bird_at(split, seed, index)
        attributes.append(bird.codes())
        claims.extend(codes_of(caption.claims) for caption in captions)
        texts.append([caption.text for caption in captions])
    np.save(folder / "attributes.npy", np.stack(attributes))
    np.save(folder / "claims.npy", np.stack(claims))
    (folder / "captions.json").write_text(json.dumps(texts), encoding="utf-8")


class _Workers:
    """Processes that each render every n-th bird.

    They are started as commands, not forked: the caller may hold threads (torch does), and a
    spawned pool would run the caller's unguarded script anew.
    """

    def __init__(
        self,
        folder: Path,
        split: Split,
        seed: int,
        count: int,
        workers: int,
        advance: Callable[[int], None],
    ) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # The work is split by process; threads inside would only fight over the cores.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", _WORKER]
        self._processes = [
            subprocess.Popen(
                [
                    *command,
                    str(folder / "pictures.npy"),
                    split,
                    *map(str, (seed, number, count, workers)),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for number in range(workers)
        ]
        self._listeners = [
            threading.Thread(target=self._listen, args=(process, advance), daemon=True)
            for process in self._processes
        ]
        for listener in self._listeners:
            listener.start()

    @staticmethod
    def _listen(process: subprocess.Popen[str], advance: Callable[[int], None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            advance(int(line))

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
            process.wait()
        for listener in self._listeners:
            listener.join()
        for process in self._processes:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def wait(self) -> None:
        """Wait until all birds are rendered.

        Raises:
            DataError: a process failed.
        """
        for process in self._processes:
            assert process.stderr is not None
            complaint = process.stderr.read()
            if process.wait() != 0:
                last = complaint.strip().splitlines()[-1:] or ["no message"]
                raise DataError(
                    f"pictures: a rendering process ended with code {process.returncode} "
                    f"({last[0]}); try again with workers=1"
                )
