"""Each layout of a folder is understood, and where two are present the rule decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data.folders import captioned, save, write_rows
from training.data.errors import DataError
from training.data.layouts import list_folder
from training.data.listing import Listing
from training.data.pictures import FaultKind


def said(listing: Listing) -> dict[str, tuple[str, ...]]:
    """The captions of each usable file."""
    return {entry.file: entry.captions for entry in listing.entries}


def faults(listing: Listing) -> set[tuple[str, FaultKind]]:
    """File and kind of each fault."""
    return {(fault.file, fault.kind) for fault in listing.faults}


def test_metadata_jsonl_gives_text_captions_label_and_split(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / f"{index}.png", index)
    write_rows(
        tmp_path / "metadata.jsonl",
        [
            {"file_name": "0.png", "text": "  one\n caption ", "label": "a", "split": "train"},
            {"file_name": "1.png", "captions": ["two", "", "captions", "two"], "label": 7},
            {"file_name": "2.png", "text": "three", "captions": ["more"], "split": "validation"},
        ],
    )
    listing = list_folder(tmp_path)
    assert said(listing) == {
        "0.png": ("one caption",),
        "1.png": ("two", "captions"),
        "2.png": ("three", "more"),
    }
    assert [entry.label for entry in listing.entries] == ["a", "7", None]
    assert [entry.split for entry in listing.entries] == ["train", None, "val"]
    assert not listing.faults


def test_lines_that_name_the_same_picture_are_put_together(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    (tmp_path / "captions.csv").write_text(
        'file_name,text\na.png,"a bird, red"\na.png,second\n', "utf-8"
    )
    assert said(list_folder(tmp_path)) == {"a.png": ("a bird, red", "second")}


def test_captions_csv_may_name_its_columns_as_flickr_does(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    (tmp_path / "captions.csv").write_text("\ufeffimage,caption\r\na.png,é\r\n", "utf-8")
    assert said(list_folder(tmp_path)) == {"a.png": ("é",)}


def test_a_txt_beside_each_picture_gives_one_caption_a_line(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "a.png", 0)
    save(tmp_path / "b.png", 1)
    (tmp_path / "deep" / "a.txt").write_text("first\n\nsecond\n", "utf-8")
    (tmp_path / "b.txt").write_text("only", "utf-8")
    (tmp_path / "README.txt").write_text("not a caption", "utf-8")
    listing = list_folder(tmp_path)
    assert said(listing) == {"b.png": ("only",), "deep/a.png": ("first", "second")}
    assert not listing.faults


def test_class_folders_give_labels_and_no_captions(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.png", 0)
    save(tmp_path / "dog" / "deep" / "b.png", 1)
    listing = list_folder(tmp_path)
    assert [(e.file, e.label, e.captions) for e in listing.entries] == [
        ("cat/a.png", "cat", ()),
        ("dog/deep/b.png", "dog", ()),
    ]


def test_split_folders_name_splits_and_may_hold_classes(tmp_path: Path) -> None:
    save(tmp_path / "train" / "cat" / "a.png", 0)
    save(tmp_path / "train" / "dog" / "b.png", 1)
    save(tmp_path / "validation" / "cat" / "c.png", 2)
    listing = list_folder(tmp_path)
    assert [(e.split, e.label) for e in listing.entries] == [
        ("train", "cat"),
        ("train", "dog"),
        ("val", "cat"),
    ]


def test_split_folders_may_hold_a_caption_file_each(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split / "a.png", 0)
        write_rows(
            tmp_path / split / "metadata.jsonl", [{"file_name": "a.png", "text": f"of {split}"}]
        )
    listing = list_folder(tmp_path)
    assert [(e.file, e.split, e.captions) for e in listing.entries] == [
        ("test/a.png", "test", ("of test",)),
        ("train/a.png", "train", ("of train",)),
    ]


def test_a_caption_file_may_name_pictures_of_subfolders(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a.png", 0)
    write_rows(tmp_path / "metadata.jsonl", [{"file_name": "x/a.png", "text": "one"}])
    assert said(list_folder(tmp_path)) == {"x/a.png": ("one",)}


def test_one_caption_file_serves_the_same_pictures_at_several_sizes(tmp_path: Path) -> None:
    for size in (32, 64):
        save(tmp_path / str(size) / "a.png", 0, size, size)
    write_rows(tmp_path / "metadata.jsonl", [{"file_name": "a.png", "text": "one"}])
    listing = list_folder(tmp_path / "64")
    assert said(listing) == {"a.png": ("one",)}
    assert listing.layout == "../metadata.jsonl"


@pytest.mark.parametrize(
    ("resolution", "size"), [(16, 32), (32, 32), (40, 64), (64, 64), (128, 64), (None, 64)]
)
def test_of_several_sizes_the_smallest_that_is_large_enough_is_read(
    tmp_path: Path, resolution: int | None, size: int
) -> None:
    rows = []
    for name in ("a", "b", "c"):
        for side in (32, 64):
            save(tmp_path / str(side) / f"{name}.png", 0, side, side)
        rows.append({"file_name": f"{name}.png", "text": name})
    # Too few to be one of the sizes.
    save(tmp_path / "48" / "a.png", 0)
    write_rows(tmp_path / "metadata.jsonl", rows)
    listing = list_folder(tmp_path, resolution)
    assert list(said(listing)) == [f"{size}/{name}.png" for name in ("a", "b", "c")]
    assert not listing.faults
    assert listing.layout == f"metadata.jsonl, pictures in {size}"
    assert listing.name == f"{tmp_path.name}/{size}"


def test_folders_that_are_called_by_numbers_but_hold_few_pictures_are_no_sizes(
    tmp_path: Path,
) -> None:
    rows = []
    for number in range(10, 14):
        save(tmp_path / str(number) / f"{number}.png", number)
        rows.append({"file_name": f"{number}.png", "text": "x"})
    write_rows(tmp_path / "metadata.jsonl", rows)
    listing = list_folder(tmp_path, 16)
    assert not listing.entries and len(listing.faults) == 8


def test_a_caption_file_silences_texts_and_says_so(tmp_path: Path) -> None:
    captioned(tmp_path, 2)
    (tmp_path / "000.txt").write_text("from the text file", "utf-8")
    listing = list_folder(tmp_path)
    assert said(listing)["000.png"] == ("picture number 0",)
    assert any("1 pictures have a .txt beside them" in remark for remark in listing.remarks)


def test_texts_silence_class_folders(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        save(tmp_path / name / "a.png", 0)
        (tmp_path / name / "a.txt").write_text("said", "utf-8")
    listing = list_folder(tmp_path)
    assert {entry.label for entry in listing.entries} == {None}
    assert said(listing)["cat/a.png"] == ("said",)


def test_two_caption_files_in_one_folder_are_refused(tmp_path: Path) -> None:
    captioned(tmp_path, 2)
    (tmp_path / "captions.csv").write_text("file_name,text\n000.png,other\n", "utf-8")
    with pytest.raises(DataError, match=r"captions\.csv and metadata\.jsonl; keep the one"):
        list_folder(tmp_path)


def test_pictures_and_captions_that_miss_each_other_are_named(tmp_path: Path) -> None:
    captioned(tmp_path, 3)
    save(tmp_path / "extra.png", 9)
    (tmp_path / "001.png").unlink()
    listing = list_folder(tmp_path)
    assert faults(listing) == {
        ("extra.png", FaultKind.NO_CAPTION),
        ("001.png", FaultKind.NO_PICTURE),
    }
    assert set(said(listing)) == {"000.png", "002.png"}


def test_texts_and_pictures_that_miss_each_other_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.png", 0)
    (tmp_path / "a.txt").write_text("said", "utf-8")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    (tmp_path / "stray.txt").write_text("said", "utf-8")
    assert faults(list_folder(tmp_path)) == {
        ("b.png", FaultKind.NO_CAPTION),
        ("c.png", FaultKind.NO_CAPTION),
        ("stray.txt", FaultKind.NO_PICTURE),
    }


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"{broken", "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"text": "no file"}', "has no file_name"),
        (b'{"file_name": 3, "text": "x"}', "has no file_name"),
        (b'{"file_name": "000.png", "captions": [1]}', "captions holds int, not text"),
        (b'{"file_name": "000.png", "label": 1.5}', "label holds float"),
        (b'{"file_name": "000.png", "split": 1}', "split holds int"),
        (b'{"file_name": "caf\xe9.png"}', "is not UTF-8"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: bytes, detail: str) -> None:
    captioned(tmp_path, 2)
    with (tmp_path / "metadata.jsonl").open("ab") as file:
        file.write(line + b"\n")
    listing = list_folder(tmp_path)
    assert [(fault.file, fault.kind) for fault in listing.faults] == [
        ("metadata.jsonl:3", FaultKind.BAD_LINE)
    ]
    assert detail in listing.faults[0].detail
    assert len(listing.entries) == 2


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "x/../../secret.png"])
def test_files_outside_the_folder_are_never_read(tmp_path: Path, name: str) -> None:
    folder = captioned(tmp_path / "inside", 2)
    save(tmp_path / "secret.png", 5)
    with (folder / "metadata.jsonl").open("a") as file:
        file.write(f'{{"file_name": "{name}", "text": "x"}}\n')
    listing = list_folder(folder)
    assert faults(listing) == {(name, FaultKind.OUTSIDE)}
    assert len(listing.entries) == 2


def test_lines_that_contradict_each_other_take_the_picture_out(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    save(tmp_path / "b.png", 1)
    rows: list[dict[str, object]] = [
        {"file_name": "a.png", "text": "x", "label": "cat"},
        {"file_name": "a.png", "text": "y", "label": "dog"},
        {"file_name": "b.png", "text": "z", "label": "dog"},
    ]
    write_rows(tmp_path / "metadata.jsonl", rows)
    listing = list_folder(tmp_path)
    assert faults(listing) == {("a.png", FaultKind.CONFLICT)}
    assert set(said(listing)) == {"b.png"}


def test_names_from_other_systems_find_their_files(tmp_path: Path) -> None:
    save(tmp_path / "sub" / "cafe\u0301.png", 0)
    write_rows(tmp_path / "metadata.jsonl", [{"file_name": "sub\\caf\u00e9.png", "text": "x"}])
    assert set(said(list_folder(tmp_path))) == {"sub/cafe\u0301.png"}


def test_over_long_captions_are_cut_at_a_blank_and_counted(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    write_rows(tmp_path / "metadata.jsonl", [{"file_name": "a.png", "text": "word " * 200}])
    (entry,) = list_folder(tmp_path).entries
    assert entry.cut == 1
    assert len(entry.captions[0]) <= 512 and entry.captions[0].endswith("word")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a.png,first\n", "must name the columns"),
        (b"", "must name the columns"),
        (b"file_name,text\na.png,caf\xe9\n", "is not UTF-8"),
        (b'file_name,text\na.png,"never closed\n', "is not CSV"),
    ],
)
def test_a_csv_that_cannot_be_understood_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    save(tmp_path / "a.png", 0)
    (tmp_path / "captions.csv").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        list_folder(tmp_path)


def test_unquoted_commas_in_a_csv_are_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    save(tmp_path / "b.png", 1)
    (tmp_path / "captions.csv").write_text("file_name,text\na.png,red, blue\nb.png,green\n")
    listing = list_folder(tmp_path)
    assert ("captions.csv:2", FaultKind.BAD_LINE) in faults(listing)
    assert set(said(listing)) == {"b.png"}


def test_pictures_without_captions_or_classes_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 0)
    with pytest.raises(DataError, match=r"1 pictures, but no captions; write metadata\.jsonl"):
        list_folder(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing here")
    with pytest.raises(DataError, match="holds no picture"):
        list_folder(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list_folder(tmp_path / "nowhere")


def test_hidden_files_are_not_looked_at_and_link_loops_end(tmp_path: Path) -> None:
    captioned(tmp_path, 2)
    save(tmp_path / ".thumbnails" / "a.png", 5)
    save(tmp_path / "__MACOSX" / "a.png", 5)
    (tmp_path / "loop").symlink_to(tmp_path)
    listing = list_folder(tmp_path)
    assert len(listing.entries) == 2 and not listing.faults
