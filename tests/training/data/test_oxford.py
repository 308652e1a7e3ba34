"""Oxford-102 flowers are read as they are handed on, with Reed's captions and without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scipy.io import savemat

from tests.training.data.known_layouts import write_flowers
from training.data import PictureData, load_data
from training.data.errors import DataError
from training.data.layouts import list_folder
from training.data.pictures import FaultKind

NAMES = {1: "pink primrose", 2: "hard-leaved pocket orchid", 77: "passion flower"}


def load(path: Path, split: str) -> PictureData:
    data = load_data(
        path, resolution=16, split=split, cache_dir=path.parent / "cache", progress=False
    )
    assert isinstance(data, PictureData)
    return data


def test_flowers_captions_and_the_class_split_need_no_matlab_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    folder = write_flowers_without_mat(tmp_path / "flowers", monkeypatch)
    listing = list_folder(folder)
    assert listing.layout == "Oxford-102 flowers with captions of text_c10"
    assert not listing.faults and not listing.remarks and len(listing.entries) == 24
    for place, entry in enumerate(listing.entries, start=1):
        label = (77, 1, 2)[place % 3]
        assert entry.file == f"jpg/image_{place:05}.jpg"
        assert entry.label == NAMES[label]
        assert entry.captions == tuple(f"caption {n} of flower {place}" for n in range(10))
        assert entry.split == ("unseen" if label == 2 else None)
    train, unseen = load(folder, "train"), load(folder, "unseen")
    assert len(unseen) == 8 and not set(train.files) & set(unseen.files)


def write_flowers_without_mat(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as restored:
        restored.delitem(sys.modules, "scipy.io")
        return write_flowers(folder, mat=False)


def test_without_class_lists_the_official_split_counts(tmp_path: Path) -> None:
    folder = write_flowers(tmp_path / "flowers")
    for name in ("trainvalclasses.txt", "testclasses.txt"):
        (folder / name).unlink()
    splits = [entry.split for entry in list_folder(folder).entries]
    assert splits == ["train"] * 8 + ["val"] * 8 + ["test"] * 8
    assert len(load(folder, "val")) == 8


def test_without_captions_the_classes_come_of_the_list(tmp_path: Path) -> None:
    folder = write_flowers(tmp_path / "flowers", reed=False)
    listing = list_folder(folder)
    assert listing.layout == "Oxford-102 flowers without captions"
    assert [entry.label for entry in listing.entries[:3]] == list(NAMES.values())
    assert "there is no folder text_c10" in listing.remarks[0]


def test_the_set_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    write_flowers(tmp_path / "data" / "flowers-102", reed=False)
    listing = list_folder(tmp_path / "data")
    assert len(listing.entries) == 24
    assert listing.entries[0].file == "flowers-102/jpg/image_00001.jpg"


def test_pictures_and_captions_that_miss_each_other_are_named(tmp_path: Path) -> None:
    folder = write_flowers(tmp_path / "flowers")
    (folder / "jpg" / "image_00003.jpg").unlink()
    (folder / "text_c10" / "class_00001" / "image_00004.txt").unlink()
    faults = {(fault.file, fault.kind) for fault in list_folder(folder).faults}
    assert faults == {
        ("text_c10/class_00077/image_00003.txt", FaultKind.NO_PICTURE),
        ("jpg/image_00004.jpg", FaultKind.NO_CAPTION),
    }


def test_matlab_files_without_scipy_name_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_flowers(tmp_path / "flowers", reed=False)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"imagelabels\.mat: MATLAB files are read by scipy; pip"):
        list_folder(folder)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("imagelabels.mat", "imagelabels.mat is missing, which says the class of each flower"),
        ("setid.mat", "nothing says which pictures are trained on; put Reed's"),
    ],
)
def test_a_list_that_is_missing_is_named(tmp_path: Path, missing: str, words: str) -> None:
    folder = write_flowers(tmp_path / "flowers", reed=False)
    (folder / missing).unlink()
    with pytest.raises(DataError, match=words):
        list_folder(folder)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({"trnid": [[1, 2]], "valid": [[2]], "tstid": [[3]]}, "valid names picture 2, which is in"),
        ({"trnid": [[1]], "valid": [[2]], "tstid": [[3]]}, "says nothing of 21 pictures, such as"),
        ({"trnid": [[1]], "valid": [[2]]}, "cannot be used .KeyError: 'tstid'"),
    ],
)
def test_a_wrong_official_split_is_refused(
    tmp_path: Path, sets: dict[str, object], words: str
) -> None:
    folder = write_flowers(tmp_path / "flowers", reed=False)
    savemat(folder / "setid.mat", sets)
    with pytest.raises(DataError, match=words):
        list_folder(folder)


def test_too_few_classes_are_refused(tmp_path: Path) -> None:
    folder = write_flowers(tmp_path / "flowers", reed=False)
    savemat(folder / "imagelabels.mat", {"labels": [[1, 2, 3]]})
    with pytest.raises(DataError, match=r"holds 3 classes, none for jpg/image_00004\.jpg"):
        list_folder(folder)


def test_a_damaged_matlab_file_is_refused(tmp_path: Path) -> None:
    folder = write_flowers(tmp_path / "flowers", reed=False)
    (folder / "setid.mat").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"setid\.mat: cannot be used"):
        list_folder(folder)
