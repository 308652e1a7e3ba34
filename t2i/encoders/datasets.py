"""All captions of a data set, encoded once into a memory-mapped file."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t2i.conditions import Text
from t2i.encoders.text import TextEncoder
from t2i.errors import InvalidInput

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["embedding_path", "encode_dataset"]

BATCH = 256


def encode_dataset(
    encoder: TextEncoder,
    captions: Sequence[str],
    cache_dir: str | os.PathLike[str],
    progress: bool = True,
    *,
    half: bool = False,
) -> np.memmap[tuple[int, int], np.dtype[np.float32]]:
    """Return the embeddings of captions, `(n, dim)` float32, read-only, in the captions' order.

    They are computed once: the file is named by the encoder, the captions and the precision, and
    appears complete or not at all. Equal captions are encoded once and agree bit for bit. An
    embedding agrees with `encoder.encode` up to rounding, not bit for bit.

    Args:
        encoder: the text encoder.
        captions: any number of captions; at least one.
        cache_dir: folder for the file; made if missing.
        progress: show a progress bar on stderr.
        half: compute in bfloat16. On a processor that has it (AVX-512 BF16) this saves a seventh
            of the time and moves each number by 0.8 % of its spread over the captions of the
            illustrated birds (root mean square); without it, it is slower. Off by default.

    Raises:
        InvalidInput: if there are no captions, or one is empty, blank or too long.
    """
    if not captions:
        raise InvalidInput("captions", captions, "are empty", "give at least one caption")
    for index, caption in enumerate(captions):
        try:
            Text(caption)
        except InvalidInput as error:
            raise InvalidInput(
                f"captions[{index}]", caption, error.problem, error.remedy
            ) from error
    path = embedding_path(encoder, captions, cache_dir, half=half)
    known = _open(path, (len(captions), encoder.dim))
    if known is not None:
        return known
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        embeddings = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.float32, shape=(len(captions), encoder.dim)
        )
        _fill(embeddings, encoder, captions, progress=progress, half=half)
        embeddings.flush()
        del embeddings
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    written = _open(path, (len(captions), encoder.dim))
    assert written is not None
    return written


def embedding_path(
    encoder: TextEncoder,
    captions: Sequence[str],
    cache_dir: str | os.PathLike[str],
    *,
    half: bool = False,
) -> Path:
    """Return the file that `encode_dataset` keeps these embeddings in."""
    key = hashlib.sha256()
    for part in (encoder.id, "bfloat16" if half else "float32", *captions):
        data = part.encode("utf-8")
        # The length before each part: ["ab", "c"] and ["a", "bc"] are different captions.
        key.update(len(data).to_bytes(8, "little"))
        key.update(data)
    return Path(cache_dir) / f"embeddings-{key.hexdigest()[:32]}.npy"


def _fill(
    embeddings: np.ndarray,
    encoder: TextEncoder,
    captions: Sequence[str],
    *,
    progress: bool,
    half: bool,
) -> None:
    places: dict[str, list[int]] = {}
    for index, caption in enumerate(captions):
        places.setdefault(caption, []).append(index)
    # Captions of like length share a batch: less padding to compute.
    order = sorted(places, key=len)
    with _progress(progress) as bar:
        task = bar.add_task("Encoding captions", total=len(order))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            rows = encoder.encode_batch(batch, half=half).numpy()
            for caption, row in zip(batch, rows, strict=True):
                embeddings[places[caption]] = row
            bar.advance(task, len(batch))


def _progress(shown: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
    return Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True)


def _open(
    path: Path, shape: tuple[int, int]
) -> np.memmap[tuple[int, int], np.dtype[np.float32]] | None:
    """Return the file if it is there and what it should be; anything else is computed anew."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    if not isinstance(found, np.memmap) or found.shape != shape or found.dtype != np.float32:
        return None
    return found
