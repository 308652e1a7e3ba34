"""`t2i-train data check` tells what training would find, and its exit code can be trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.training.data.folders import captioned, draw, save, write_rows
from training.cli import main
from training.data.check import Spread, check_folder
from training.data.folder import folder
from training.data.pictures import FaultKind


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["data", "check", *map(str, arguments)])


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """60 pictures with one fault of each kind that a picture file can have."""
    path = captioned(tmp_path / "mine", 60)
    (path / "000.png").write_bytes(b"")
    (path / "001.png").write_text("words")
    (path / "002.png").write_bytes((path / "002.png").read_bytes()[:300])
    save(path / "003.png", 3, 9, 9)
    (path / "004.png").unlink()
    save(path / "extra.png", 900)
    return path


def test_every_fault_is_counted_and_named(faulty: Path) -> None:
    report = check_folder(faulty, resolution=32, progress=False)
    kinds = {fault.file: fault.kind for fault in report.faults}
    assert kinds.pop("002.png") in (FaultKind.TRUNCATED, FaultKind.UNREADABLE)
    assert kinds == {
        "000.png": FaultKind.EMPTY,
        "001.png": FaultKind.NOT_A_PICTURE,
        "003.png": FaultKind.TOO_SMALL,
        "004.png": FaultKind.NO_PICTURE,
        "extra.png": FaultKind.NO_CAPTION,
    }
    assert report.usable == 55
    assert report.fault_counts["empty file"] == 1
    assert report.verdict == "training skips 6 of 61 files and uses 55 pictures"


def test_the_report_and_training_agree(faulty: Path, tmp_path: Path) -> None:
    report = check_folder(faulty, resolution=32, progress=False)
    cache = tmp_path / "cache"
    data = folder(faulty, resolution=32, split="all", cache_dir=cache, progress=False)
    assert set(data.skipped) == set(report.faults)
    assert len(data) == report.usable
    for split, count in report.splits.items():
        assert count == len(
            folder(faulty, resolution=32, split=split, cache_dir=cache, progress=False)
        )


def test_captions_and_sizes_are_measured(tmp_path: Path) -> None:
    rows = []
    for index in range(3):
        save(tmp_path / f"{index}.png", index, 40 + index, 20)
        rows.append({"file_name": f"{index}.png", "captions": ["a b", "c d e f"][: 1 + index % 2]})
    rows[2]["captions"] = ["word " * 200]
    write_rows(tmp_path / "metadata.jsonl", rows)
    report = check_folder(tmp_path, resolution=32, progress=False)
    assert (report.captions, report.distinct_captions) == (4, 3)
    assert report.captions_a_picture == Spread(1, 1.0, 2)
    assert report.caption_words == Spread(2, 3.0, 102)
    assert report.caption_characters == Spread(3, 5.0, 509)
    assert report.captions_cut == 1
    assert report.widths == Spread(40, 41.0, 42)
    assert report.heights == Spread(20, 20.0, 20)
    assert report.enlarged == 3


def test_modes_formats_and_labels_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png", 0)
    save(tmp_path / "cat" / "b.jpg", 1)
    draw(2).convert("L").save(tmp_path / "cat" / "c.png")
    Image.new("RGBA", (32, 32)).save(save(tmp_path / "dog" / "d.png", 3))
    report = check_folder(tmp_path, resolution=32, progress=False)
    assert report.modes == {"RGB": 2, "L": 1, "RGBA": 1}
    assert report.formats == {"PNG": 3, "JPEG": 1}
    assert report.labels == {"cat": 3, "dog": 1}


def test_copies_are_named(tmp_path: Path) -> None:
    path = captioned(tmp_path / "mine", 20)
    shutil.copy(path / "003.png", path / "copy.png")
    draw(5).save(path / "like.jpg", quality=90)
    with (path / "metadata.jsonl").open("a") as file:
        file.write('{"file_name": "copy.png", "text": "x"}\n{"file_name": "like.jpg", "text": "y"}')
    report = check_folder(path, resolution=32, progress=False)
    assert report.same_bytes == (("003.png", "copy.png"),)
    assert report.same_look == (("003.png", "copy.png"), ("005.png", "like.jpg"))


def test_exit_code_0_for_a_clean_folder(tmp_path: Path) -> None:
    result = run(captioned(tmp_path / "mine", 20), "--resolution", "32")
    assert result.exit_code == 0, result.output
    assert "training uses all 20 pictures" in result.output


def test_exit_code_1_where_there_are_problems(faulty: Path) -> None:
    result = run(faulty, "--resolution", "32")
    assert result.exit_code == 1
    for name in ("000.png", "001.png", "002.png", "003.png", "004.png", "extra.png"):
        assert name in result.output


def test_exit_code_1_where_training_would_refuse(tmp_path: Path) -> None:
    result = run(captioned(tmp_path / "mine", 5), "--resolution", "32")
    assert result.exit_code == 1
    assert "needs 16 pictures, and 5 can be used" in result.output


def test_exit_code_2_where_nothing_can_be_said(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "does not exist" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_strict_counts_remarks_as_problems(tmp_path: Path) -> None:
    path = captioned(tmp_path / "mine", 20)
    assert run(path, "--resolution", "32", "--strict").exit_code == 0
    (path / "003.txt").write_text("ignored")
    assert run(path, "--resolution", "32").exit_code == 0
    assert run(path, "--resolution", "32", "--strict").exit_code == 1


def test_json_holds_the_whole_report(faulty: Path) -> None:
    result = run(faulty, "--resolution", "32", "--json")
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert report["clean"] is False and report["trains"] is True
    assert report["usable"] == 55 and len(report["faults"]) == 6
    assert {"file": "000.png", "kind": "empty file", "detail": "0 bytes"} in report["faults"]
    assert report["widths"] == {"min": 40, "median": 40.0, "max": 40}


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    path = captioned(tmp_path / "mine", 20)
    (path / "[red]x.png").write_text("words")
    result = run(path, "--resolution", "32")
    assert "[red]x.png" in result.output


def test_names_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    path = captioned(tmp_path / "mine", 20)
    (Path(str(path)) / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_text("words")
    result = run(path, "--resolution", "32")
    assert result.exit_code == 1
    assert "caf\\udce9.png" in result.output
    assert json.loads(run(path, "--json").output)["faults"][0]["file"].startswith("caf")


def test_a_folder_whose_captions_belong_below_gets_a_hint(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "set" / "small" / f"{index}.png", index)
    write_rows(
        tmp_path / "set" / "metadata.jsonl",
        [{"file_name": f"{index}.png", "text": "x"} for index in range(3)],
    )
    result = run(tmp_path / "set")
    assert result.exit_code == 1
    assert "hint: the files are in small" in result.output.replace("\n", " ")
