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
from t2i.batch.shard import ShardReport, record_name
from t2i.batch.storage import Storage, write
from t2i.batch.writers import Place, read_picture
from t2i.sheets import contact_sheet, in_rows

__all__ = ["write_failures", "write_manifest", "write_sheet"]

_SHEET_PICTURES = 64
_SHEET_SIDE = 128


def write_failures(out: Storage, reports: Sequence[ShardReport]) -> Path | str | None:
    """Write the rows that could not be drawn, in the order of the input; return where.

    None, and no file, if all were drawn.

    Raises:
        OSError: if it cannot be written.
    """
    if not any(report.failed for report in reports):
        out.remove(FAILURES)
        return None
    with write(out, FAILURES) as file:
        for report in reports:
            file.writelines(_lines(out, report, 0, report.failed))
    return out.place(FAILURES)


def write_manifest(out: Storage, reports: Sequence[ShardReport]) -> Path | str:
    """Write where each picture is and what it is; return where that is told.

    It is Parquet where pyarrow is installed, else JSON Lines with the same columns.

    Raises:
        OSError: if it cannot be written.
    """
    is_parquet = parquet.is_installed()
    name, other = MANIFESTS if is_parquet else MANIFESTS[::-1]
    if is_parquet:
        parquet.write_manifest(out, name, _pictures(out, reports))
    else:
        with write(out, name) as file:
            file.writelines(_pictures(out, reports))
    out.remove(other)
    return out.place(name)


def write_sheet(out: Storage, reports: Sequence[ShardReport]) -> Path | str | None:
    """Write some pictures, evenly spread over the job, on one sheet; return where.

    None, and no file, if there are no pictures.

    Raises:
        OSError: if it cannot be written.
    """
    pictures = [Image.open(io.BytesIO(read_picture(out, at))) for at in _some(out, reports)]
    if not pictures:
        out.remove(SHEET)
        return None
    for picture in pictures:
        picture.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
    packed = io.BytesIO()
    contact_sheet(in_rows(pictures)).save(packed, "PNG")
    with write(out, SHEET) as file:
        file.write(packed.getvalue())
    return out.place(SHEET)


def _some(out: Storage, reports: Sequence[ShardReport]) -> Iterator[Place]:
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


def _pictures(out: Storage, reports: Iterable[ShardReport]) -> Iterator[bytes]:
    for report in reports:
        yield from _lines(out, report, report.failed, report.pictures)


def _lines(out: Storage, report: ShardReport, first: int, count: int) -> Iterator[bytes]:
    """Return lines of a shard's record with their ends."""
    with out.open(record_name(report.shard)) as file:
        yield from islice(file, first, first + count)
