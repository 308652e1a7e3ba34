"""The rows of an input file, one after the other and as they stand; nothing is held in memory.

JSON Lines and plain text give lines, which `plan.py`'s shards carry to whoever reads them; CSV and
Parquet give mappings, since only a reader of the whole file knows where a row of theirs ends.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from t2i.batch.formats import INPUT_FORMATS, InputFormat
from t2i.batch.storage import File, suffix_of
from t2i.errors import InvalidInput, shown

__all__ = [
    "MAX_LINE_BYTES",
    "Record",
    "Survey",
    "Unreadable",
    "check_file",
    "format_of",
    "read_records",
    "spool",
    "survey",
]

MAX_LINE_BYTES = 1 << 20

_SUFFIXES: Mapping[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}
_BLOCK_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOO_LONG = f"the line is longer than {MAX_LINE_BYTES} bytes; make it shorter"
_NOT_UTF8 = "is not UTF-8; save the file as UTF-8"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that its file's format cannot tell.

    Attributes:
        reason: what is wrong with it and what would be right.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """One row of an input file.

    Attributes:
        row: its number, from 1: the line of JSON Lines and plain text, the row of CSV and Parquet.
        line: the line of the file in which it begins, from 1; of Parquet, the row again.
        content: a line without its end, or the values by the names of their columns.
    """

    row: int
    line: int
    content: bytes | Mapping[str, object] | Unreadable


@dataclass(frozen=True, slots=True)
class Survey:
    """What an input file is.

    Attributes:
        sha256: over its bytes, hexadecimal.
        size: bytes.
        rows: rows in it. Blank lines count, and so do line breaks within a cell of CSV.
    """

    sha256: str
    size: int
    rows: int


def format_of(where: Path | str, chosen: InputFormat | None) -> InputFormat:
    """Return the format of an input: the chosen one, else the one that the suffix names.

    Args:
        where: its path or address.
        chosen: the format, or None.

    Raises:
        InvalidInput: if neither tells.
    """
    if chosen is not None:
        return chosen
    suffix = suffix_of(where)
    known = _SUFFIXES.get(suffix)
    if known is None:
        raise InvalidInput(
            "input-format",
            str(where),
            f"{suffix or 'no suffix'} names no format of rows",
            f"give --input-format {', '.join(INPUT_FORMATS[:-1])} or {INPUT_FORMATS[-1]}",
        )
    return known


def check_file(path: Path) -> bool:
    """Return whether an input can be read twice; a pipe cannot.

    Raises:
        InvalidInput: if there is no such file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InvalidInput(
            "input", str(path), f"there is no file {shown(str(path))}", "check the path"
        ) from None
    if stat.S_ISDIR(mode):
        raise InvalidInput(
            "input", str(path), f"{shown(str(path))} is a folder", "give a file of rows"
        )
    return stat.S_ISREG(mode)


def spool(stream: BinaryIO, path: Path) -> None:
    """Copy a stream to a new file, so that its rows can be read again.

    Raises:
        OSError: if the file cannot be written.
    """
    with path.open("xb") as file:
        shutil.copyfileobj(stream, file, _BLOCK_BYTES)


def survey(source: File, input_format: InputFormat) -> Survey:
    """Return what a file is; reads it once, at the speed of what it lies on."""
    digest = hashlib.sha256()
    size = breaks = 0
    last = b"\n"
    with source.open() as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            breaks += block.count(b"\n")
            last = block[-1:]
    if input_format == "parquet":
        from t2i.batch.parquet import count_rows

        rows = count_rows(source)
    else:
        rows = breaks + (last != b"\n") - (input_format == "csv")
    return Survey(digest.hexdigest(), size, max(0, rows))


def read_records(source: File, input_format: InputFormat) -> Iterator[Record]:
    """Return the rows of a file in order. Blank lines are passed over.

    Raises:
        InvalidInput: if the file as a whole cannot be read: a CSV file whose header has an empty
            name or one twice, a file that is not Parquet.
        ExtraMissing: if it is Parquet and pyarrow is not installed.
    """
    if input_format == "parquet":
        from t2i.batch.parquet import read_rows

        yield from (Record(row, row, values) for row, values in read_rows(source))
        return
    with source.open() as file:
        yield from _csv_records(file) if input_format == "csv" else _line_records(file)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Return each line without its end; None in place of one that is too long."""
    first = True
    while line := file.readline(MAX_LINE_BYTES + 1):
        mark, first = _BYTE_ORDER_MARK if first else b"", False
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(_BLOCK_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None
            continue
        line = line.removeprefix(mark)
        yield line.rstrip(b"\r\n")


def _line_records(file: BinaryIO) -> Iterator[Record]:
    for number, line in enumerate(_lines(file), 1):
        if line is None:
            yield Record(number, number, Unreadable(_TOO_LONG))
        elif line and not line.isspace():
            yield Record(number, number, line)


class _CsvLines:
    """The lines of a CSV file as text; a line that is none leaves its fault in `fault`."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _lines(file)
        self.fault = ""

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if line is None:
                self.fault = _TOO_LONG
                yield "\n"
                continue
            try:
                yield line.decode("utf-8") + "\n"
            except UnicodeDecodeError:
                self.fault = _NOT_UTF8
                yield "\n"


def _csv_records(file: BinaryIO) -> Iterator[Record]:
    lines = _CsvLines(file)
    reader = csv.reader(lines, strict=True)
    header = _csv_header(reader, lines)
    if header is None:
        return
    row, line = 0, reader.line_num + 1
    while True:
        lines.fault = ""
        content: Mapping[str, object] | Unreadable
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            content = Unreadable(f"is not CSV ({error}); put quotes around cells with commas")
        else:
            if not cells and not lines.fault:
                line = reader.line_num + 1
                continue
            content = dict(zip(header, cells, strict=False))
            if len(cells) != len(header):
                content = Unreadable(
                    f"has {len(cells)} cells and the header has {len(header)}; give one for each "
                    "column, and put quotes around cells with commas"
                )
        row += 1
        yield Record(row, line, Unreadable(lines.fault) if lines.fault else content)
        line = reader.line_num + 1


def _csv_header(reader: Iterator[list[str]], lines: _CsvLines) -> list[str] | None:
    try:
        header = [name.strip() for name in next(reader)]
    except StopIteration:
        return None
    except csv.Error as error:
        raise InvalidInput("input", "", f"its header is not CSV ({error})", "see line 1") from error
    problem = lines.fault
    if not header or not all(header):
        problem = "a column has no name"
    elif twice := next((name for name in header if header.count(name) > 1), None):
        problem = f"{shown(twice)} occurs twice"
    if problem:
        raise InvalidInput(
            "input", header, f"its header cannot be used: {problem}", "name each column once"
        )
    return header
