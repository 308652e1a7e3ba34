"""Reads files that tell the captions of many pictures: metadata.jsonl, metadata.csv, captions.csv.

The names and fields are those of the Hugging Face image folder. One line is one picture, or one
of its captions: lines that name the same file are put together.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

from t2i.conditions import MAX_TEXT_CHARACTERS
from training.data.errors import DataError
from training.data.pictures import Fault, FaultKind

CAPTION_FILES = ("metadata.jsonl", "metadata.csv", "captions.csv")

_FILE_FIELDS = ("file_name", "filename", "file", "image", "path")
_CAPTION_FIELDS = ("text", "caption", "captions")


@dataclass(frozen=True)
class Row:
    """What one line says of a picture.

    Attributes:
        file: the name as written.
        captions: cleaned; empty when the line has none.
        label: the name of the class.
        split: "train", "val" or another name.
        line: number of the line, from 1.
        cut: how many captions were over-long and have been cut.
    """

    file: str
    captions: tuple[str, ...]
    label: str | None
    split: str | None
    line: int
    cut: int = 0


def clean_caption(text: str) -> tuple[str, bool]:
    """Put a caption on one line with single blanks, and cut it where it is over-long.

    Nobody can ask with more than `MAX_TEXT_CHARACTERS`, so nobody needs to train on more.

    Returns:
        The caption, at most `MAX_TEXT_CHARACTERS` long and maybe empty, and whether it was cut
        (at a blank, if there is one).
    """
    text = " ".join(text.split())
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text, False
    head = text[: MAX_TEXT_CHARACTERS + 1].rpartition(" ")[0]
    return head or text[:MAX_TEXT_CHARACTERS], True


def clean_captions(texts: list[str]) -> tuple[tuple[str, ...], int]:
    """Clean captions, leave out blank and repeated ones, and count those that were cut."""
    cleaned = [clean_caption(text) for text in texts]
    kept = tuple(dict.fromkeys(text for text, _ in cleaned if text))
    return kept, sum(cut for _, cut in cleaned)


def split_name(name: str) -> str:
    """Return the name of a split in our words: any of the usual names of "val" becomes "val"."""
    name = name.strip().lower()
    return "val" if name in ("validation", "valid", "dev") else name


def read_caption_file(content: bytes, shown: str) -> tuple[list[Row], list[Fault]]:
    """Read one of `CAPTION_FILES`.

    Args:
        content: of the file.
        shown: what to call it in faults; its suffix tells the format.

    Returns:
        The rows in the order of the file, and one fault for each line that cannot be used.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    return _read_jsonl(content, shown) if shown.endswith(".jsonl") else _read_csv(content, shown)


def read_fields(fields: Mapping[str, object]) -> tuple[list[str], str | None, str | None]:
    """Read what a JSON object or a line of CSV says of a picture.

    Returns:
        Captions as written, the name of the class, and that of the split in our words.

    Raises:
        ValueError: a field holds something of another type; says which.
    """
    texts: list[str] = []
    for name in _CAPTION_FIELDS:
        value = fields.get(name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        for text in values:
            if not isinstance(text, str):
                raise ValueError(f"{name} holds {type(text).__name__}, not text")
            texts.append(text)
    label = fields.get("label")
    if label is not None and (isinstance(label, bool) or not isinstance(label, str | int)):
        raise ValueError(f"label holds {type(label).__name__}, not a name or a number")
    split = fields.get("split")
    if split is not None and not isinstance(split, str):
        raise ValueError(f"split holds {type(split).__name__}, not a name")
    return (
        texts,
        None if label is None else str(label).strip() or None,
        split_name(split) if split and split.strip() else None,
    )


def read_object(content: bytes) -> Mapping[str, object]:
    """Read a JSON object.

    Raises:
        ValueError: it is none; says why, in words.
    """
    try:
        fields = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error.msg} at column {error.colno})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start})") from None
    if not isinstance(fields, dict):
        raise ValueError("is not a JSON object")
    return fields


def _read_jsonl(content: bytes, shown: str) -> tuple[list[Row], list[Fault]]:
    rows: list[Row] = []
    faults: list[Fault] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_row(read_object(line), number))
        except ValueError as error:
            faults.append(_bad_line(shown, number, str(error)))
    return rows, faults


def _read_csv(content: bytes, shown: str) -> tuple[list[Row], list[Fault]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{shown}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    faults: list[Fault] = []
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        if not set(columns) & set(_FILE_FIELDS) or not set(columns) & {*_CAPTION_FIELDS, "label"}:
            raise DataError(
                f"{shown}: the first line reads {','.join(columns)[:80]!r}; it must name the "
                "columns, such as file_name,text"
            )
        reader.fieldnames = columns
        for fields in reader:
            number = reader.line_num
            if None in fields:
                faults.append(
                    _bad_line(shown, number, "has too many columns; quote texts that hold commas")
                )
                continue
            try:
                rows.append(_row({key: value or None for key, value in fields.items()}, number))
            except ValueError as error:
                faults.append(_bad_line(shown, number, str(error)))
    except csv.Error as error:
        raise DataError(
            f"{shown}: line {reader.line_num} is not CSV ({error}); close every quote"
        ) from error
    return rows, faults


def _row(fields: Mapping[str, object], line: int) -> Row:
    file = next((fields[name] for name in _FILE_FIELDS if fields.get(name)), None)
    if not isinstance(file, str) or "\0" in file:
        raise ValueError("has no file_name")
    texts, label, split = read_fields(fields)
    captions, cut = clean_captions(texts)
    return Row(
        file=file.strip(),
        captions=captions,
        label=label,
        split=split,
        line=line,
        cut=cut,
    )


def _bad_line(shown: str, number: int, detail: str) -> Fault:
    return Fault(f"{shown}:{number}", FaultKind.BAD_LINE, detail)
