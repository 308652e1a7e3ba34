from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from t2i.batch.records import (
    MAX_LINE_BYTES,
    Record,
    Unreadable,
    check_file,
    format_of,
    read_records,
    spool,
    survey,
)
from t2i.batch.storage import file_of
from t2i.errors import InvalidInput


def records(path: Path, data: bytes, input_format: str) -> list[Record]:
    path.write_bytes(data)
    return list(read_records(file_of(path), input_format))


def test_lines_keep_their_numbers_though_blank_ones_are_passed_over(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfa bird\r\n\n   \na fish"
    assert records(tmp_path / "c.txt", data, "text") == [
        Record(1, 1, b"a bird"), Record(4, 4, b"a fish"),
    ]  # fmt: skip


def test_a_line_without_end_is_one_bad_row_and_is_not_held_in_memory(tmp_path: Path) -> None:
    data = b"a\n" + b"b" * (3 * MAX_LINE_BYTES) + b"\n" + b"c" * MAX_LINE_BYTES + b"\nd\n"
    first, second, third, fourth = records(tmp_path / "c.txt", data, "text")
    assert (first.content, len(third.content), fourth.content) == (b"a", MAX_LINE_BYTES, b"d")
    assert isinstance(second.content, Unreadable) and "longer than" in second.content.reason
    assert [r.line for r in (first, second, third, fourth)] == [1, 2, 3, 4]
    # Nor is the first one, with a mark before it, taken for two.
    data = b"\xef\xbb\xbf" + b"b" * (2 * MAX_LINE_BYTES) + b"\nd\n"
    first, second = records(tmp_path / "m.txt", data, "text")
    assert isinstance(first.content, Unreadable) and (second.line, second.content) == (2, b"d")


def test_cells_of_csv_go_by_their_column_and_tell_the_line_they_begin_in(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbfid, text\n1,"a bird,\nred"\n\n2,a fish\n'
    assert records(tmp_path / "c.csv", data, "csv") == [
        Record(1, 2, {"id": "1", "text": "a bird,\nred"}),
        Record(2, 5, {"id": "2", "text": "a fish"}),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"1", "has 1 cells and the header has 2"),
        (b"1,a,b", "has 3 cells"),
        (b'1,"a" b', "is not CSV"),
        (b"1,\xff", "is not UTF-8"),
        (b"1," + b"a" * 200_000, "is not CSV"),
        (b"1," + b"a" * MAX_LINE_BYTES, "longer than"),
    ],
)
def test_a_bad_line_of_csv_is_one_bad_row(tmp_path: Path, line: bytes, problem: str) -> None:
    data = b"id,text\n0,a\n" + line + b"\n2,c\n"
    before, bad, after = records(tmp_path / "c.csv", data, "csv")
    assert before.content == {"id": "0", "text": "a"} and after.content == {"id": "2", "text": "c"}
    assert isinstance(bad.content, Unreadable) and problem in bad.content.reason
    assert [r.line for r in (before, bad, after)] == [2, 3, 4]


@pytest.mark.parametrize("header", [b"id,id\n", b"id,\n", b"\n", b"id,\xff\n", b'"id\n'])
def test_a_header_that_names_no_columns_is_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(InvalidInput, match="header"):
        records(tmp_path / "c.csv", header + b"1,2\n", "csv")


@pytest.mark.parametrize("input_format", ["jsonl", "text", "csv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, input_format: str) -> None:
    assert records(tmp_path / "empty", b"", input_format) == []
    assert survey(file_of(tmp_path / "empty"), input_format).rows == 0


def test_a_survey_tells_what_a_file_is(tmp_path: Path) -> None:
    data = b"text\na\nb"
    (tmp_path / "c").write_bytes(data)
    found = survey(file_of(tmp_path / "c"), "csv")
    assert (found.sha256, found.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert found.rows == 2
    assert survey(file_of(tmp_path / "c"), "text").rows == 3


def test_the_suffix_names_the_format_unless_it_is_told() -> None:
    assert format_of(Path("a.JSONL"), None) == "jsonl"
    assert format_of(Path("a.txt"), None) == "text"
    assert format_of(Path("a.txt"), "csv") == "csv"
    assert format_of("s3://bucket/a.CSV", None) == "csv"
    assert format_of("zip://rows.jsonl::s3://bucket/rows.zip", None) == "jsonl"
    with pytest.raises(InvalidInput, match="--input-format"):
        format_of(Path("a.xlsx"), None)


def test_what_is_no_file_of_rows_is_refused_and_a_pipe_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    os.mkfifo(tmp_path / "pipe")
    assert check_file(tmp_path / "a") and not check_file(tmp_path / "pipe")
    for path, problem in ((tmp_path, "is a folder"), (tmp_path / "b", "there is no file")):
        with pytest.raises(InvalidInput, match=problem):
            check_file(path)


def test_a_stream_becomes_a_file(tmp_path: Path) -> None:
    spool(io.BytesIO(b"a\nb\n"), tmp_path / "input.text")
    assert (tmp_path / "input.text").read_bytes() == b"a\nb\n"
