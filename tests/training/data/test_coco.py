"""COCO captions are read as they are handed on, of 2014 and of 2017."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.data.folders import save
from tests.training.data.known_layouts import write_coco
from training.data import PictureData, load_data
from training.data.errors import DataError
from training.data.layouts import list_folder
from training.data.pictures import FaultKind


def load(path: Path, split: str) -> PictureData:
    data = load_data(
        path, resolution=16, split=split, cache_dir=path.parent / "cache", progress=False
    )
    assert isinstance(data, PictureData)
    return data


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("year", [2014, 2017])
def test_photographs_captions_and_splits_are_read(tmp_path: Path, year: int) -> None:
    folder = write_coco(tmp_path / "coco", year)
    listing = list_folder(folder)
    assert listing.layout == f"COCO captions {year}"
    assert not listing.faults and not listing.remarks
    train, val = load(folder, "train"), load(folder, "val")
    assert len(train) == 20 and len(val) == 4 and train.labels is None
    for data in (train, val):
        for file, captions in zip(data.files, data.captions, strict=True):
            number = int(file[-16:-4])
            assert captions == tuple(f"caption {n} of photograph {number}." for n in range(5))


def test_pictures_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    (folder / "images").mkdir()
    for split in ("train2017", "val2017"):
        (folder / split).rename(folder / "images" / split)
    assert len(list_folder(folder).entries) == 24


def test_of_two_years_the_later_speaks(tmp_path: Path) -> None:
    folder = write_coco(write_coco(tmp_path / "coco", 2014), 2017)
    listing = list_folder(folder)
    assert {entry.file.split("/")[0] for entry in listing.entries} == {"train2017", "val2017"}
    assert listing.remarks == [
        "pictures of 2014 are not read: 2017 speaks, and shares pictures with it"
    ]


def test_pictures_without_their_list_are_refused(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    (folder / "annotations" / "captions_val2017.json").unlink()
    with pytest.raises(DataError, match=r"captions_val2017\.json is missing, which holds the cap"):
        list_folder(folder)
    shutil.rmtree(folder / "annotations")
    with pytest.raises(DataError, match=r"captions_train2017\.json is missing"):
        list_folder(folder)


def test_a_list_without_its_pictures_is_remarked_on(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco", train=2, val=20)
    shutil.rmtree(folder / "train2017")
    assert len(load(folder, "val")) == 20
    with pytest.raises(DataError, match=r"it has val \(.*the folder train2017 is not there\)"):
        load(folder, "train")


def test_pictures_and_captions_that_miss_each_other_are_named(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    (folder / "train2017" / "000000000003.jpg").unlink()
    save(folder / "train2017" / "000000000900.jpg", 900)
    path = folder / "annotations" / "captions_train2017.json"
    edit(path, lambda content: content["annotations"][0].update(image_id=77))
    edit(
        path,
        lambda content: content.update(
            annotations=[one for one in content["annotations"] if one["image_id"] != 5]
        ),
    )
    listing = list_folder(folder)
    assert {(fault.file, fault.kind): fault.detail for fault in listing.faults} == {
        ("train2017/000000000003.jpg", FaultKind.NO_PICTURE): (
            "annotations/captions_train2017.json names it, but there is no such file"
        ),
        ("train2017/000000000900.jpg", FaultKind.NO_CAPTION): (
            "annotations/captions_train2017.json does not name it"
        ),
        ("annotations/captions_train2017.json:annotations[0]", FaultKind.BAD_LINE): (
            "is of image_id 77, which images does not list"
        ),
        ("train2017/000000000005.jpg", FaultKind.NO_CAPTION): ("it has no caption, or a blank one"),
    }


def test_a_list_that_names_mostly_absent_files_refuses_the_folder(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    for number in range(10):
        (folder / "train2017" / f"{number:012}.jpg").unlink()
    with pytest.raises(DataError, match=r"10 of 24 files .*train2017/000000000000\.jpg \(caption"):
        load(folder, "train")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.pop("annotations"), "holds no list called annotations"),
        (lambda content: content.update(images=3), "holds no list called images"),
        (lambda content: content["images"][1].pop("file_name"), r"images\[1\] has no id and file"),
        (
            lambda content: content["annotations"][2].pop("caption"),
            r"annotations\[2\] has no image_id and caption; give the file of captions, not",
        ),
    ],
)
def test_a_list_of_another_kind_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    folder = write_coco(tmp_path / "coco")
    edit(folder / "annotations" / "captions_train2017.json", change)
    with pytest.raises(DataError, match=words):
        list_folder(folder)


def test_a_list_that_is_no_json_is_refused(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    (folder / "annotations" / "captions_train2017.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"captions_train2017\.json: is not JSON .*; fetch the"):
        list_folder(folder)
