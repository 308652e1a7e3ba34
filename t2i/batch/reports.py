"""What a finished job tells about itself: manifest, failures, contact sheet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from t2i.batch import parquet
from t2i.batch.folder import FAILURES, MANIFESTS, SHEET
from t2i.batch.shard import ShardReport, record_path
from t2i.batch.writers import Place, read_picture
from t2i.files import durable_file, write_atomically
from t2i.sheets import contact_sheet, in_rows

__all__ = ["manifest_of", "write_failures", "write_manifest", "write_sheet"]

_SHEET_PICTURES = 64
_SHEET_SIDE = 128


def write_failures(out: Path, reports: Sequence[ShardReport]) -> Path | None:
    """Write the rows that could not be drawn, in the order of the input; return the file.

    None, and no file, if all were drawn.

    Raises:
        OSError: if it cannot be written.
    """
    path = out / FAILURES
    if not any(report.failed for report in reports):
        path.unlink(missing_ok=True)
        return None
    with durable_file(path) as file:
        for report in reports:
            file.writelines(_lines(out, report, 0, report.failed))
    return path


def write_manifest(out: Path, reports: Sequence[ShardReport]) -> Path:
    """Write where each picture is and what it is; return the file.

    It is Parquet where pyarrow is installed, else JSON Lines with the same columns.

    Raises:
        OSError: if it cannot be written.
    """
    is_parquet = parquet.is_installed()
    path, other = (out / name for name in (MANIFESTS if is_parquet else MANIFESTS[::-1]))
    if is_parquet:
        parquet.write_manifest(path, _pictures(out, reports))
    else:
        with durable_file(path) as file:
            file.writelines(_pictures(out, reports))
    other.unlink(missing_ok=True)
    return path


def manifest_of(out: Path) -> Path | None:
    """Return the manifest of a job that was finished before."""
    return next((out / name for name in MANIFESTS if (out / name).is_file()), None)


def write_sheet(out: Path, reports: Sequence[ShardReport]) -> Path | None:
    """Write some pictures, evenly spread over the job, on one sheet; return the file.

    None, and no file, if there are no pictures.

    Raises:
        OSError: if it cannot be written.
    """
    path = out / SHEET
    pictures = [Image.open(io.BytesIO(read_picture(out, at))) for at in _some(out, reports)]
    if not pictures:
        path.unlink(missing_ok=True)
        return None
    for picture in pictures:
        picture.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
    packed = io.BytesIO()
    contact_sheet(in_rows(pictures)).save(packed, "PNG")
    return write_atomically(path, packed.getvalue())


def _some(out: Path, reports: Sequence[ShardReport]) -> Iterator[Place]:
    total = sum(report.pictures for report in reports)
    wanted = [n * total // _SHEET_PICTURES for n in range(_SHEET_PICTURES)]
    if total < _SHEET_PICTURES:
        wanted = list(range(total))
    first = 0
    for report in reports:
        here = [n - first for n in wanted if first <= n < first + report.pictures]
        first += report.pictures
        if not here:
            continue
        for number, line in enumerate(_lines(out, report, report.failed, report.pictures)):
            if number in here:
                told = json.loads(line)
                yield Place(told["file"], told["position"], told["bytes"])


def _pictures(out: Path, reports: Iterable[ShardReport]) -> Iterator[bytes]:
    for report in reports:
        yield from _lines(out, report, report.failed, report.pictures)


def _lines(out: Path, report: ShardReport, first: int, count: int) -> Iterator[bytes]:
    """Return lines of a shard's record with their ends."""
    with record_path(out, report.shard).open("rb") as file:
        yield from islice(file, first, first + count)
