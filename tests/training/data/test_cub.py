"""CUB-200-2011 with Reed's captions is read as it is handed on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.training.data.folders import captioned, save
from tests.training.data.known_layouts import (
    SPECIES,
    TRAINED,
    UNSEEN,
    write_cub,
    write_lines,
)
from training.cli import main
from training.data import PictureData, load_data
from training.data.errors import DataError
from training.data.layouts import list_folder
from training.data.pictures import FaultKind


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    return write_cub(tmp_path / "birds")


def load(path: Path, split: str) -> PictureData:
    data = load_data(
        path, resolution=16, split=split, cache_dir=path.parent / "cache", progress=False
    )
    assert isinstance(data, PictureData)
    return data


def species(name: str) -> str:
    return name[4:].replace("_", " ")


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_species_captions_and_the_class_split_are_read(cub: Path) -> None:
    listing = list_folder(cub)
    assert not listing.faults and not listing.remarks
    assert listing.layout == "CUB-200-2011 with captions of text_c10, cut to the boxes"
    assert len(listing.entries) == 32
    first = listing.entries[0]
    assert first.file.startswith(f"CUB_200_2011/images/{SPECIES[0]}/")
    assert first.label == "Black footed Albatross"
    assert first.captions == (*(f"caption {n} of picture 1" for n in range(9)), "a bird s wing")
    train, val, unseen = (load(cub, split) for split in ("train", "val", "unseen"))
    assert len(train) + len(val) == 24 and len(unseen) == 8 and len(train) > len(val) >= 1
    for data, names in ((train, TRAINED), (val, TRAINED), (unseen, UNSEEN)):
        assert data.labels is not None
        seen = {data.label_names[label] for label in data.labels}
        assert seen <= set(map(species, names))
        for file, label, captions in zip(data.files, data.labels, data.captions, strict=True):
            assert species(file.split("/")[2]) == data.label_names[label]
            number = int(re.findall(r"_(\d{4})_", file)[0]) + 8 * SPECIES.index(file.split("/")[2])
            assert captions[0] == f"caption 0 of picture {number}"


def test_the_lists_may_lie_with_the_captions_or_in_the_inner_folder(cub: Path) -> None:
    whole = list_folder(cub).entries
    (cub / "cvpr2016_cub").mkdir()
    for name in ("text_c10", "trainvalclasses.txt", "testclasses.txt"):
        (cub / name).rename(cub / "cvpr2016_cub" / name)
    assert list_folder(cub).entries == whole
    for name in ("text_c10", "trainvalclasses.txt", "testclasses.txt"):
        (cub / "cvpr2016_cub" / name).rename(cub / "CUB_200_2011" / name)
    inner = list_folder(cub / "CUB_200_2011")
    assert [entry.captions for entry in inner.entries] == [entry.captions for entry in whole]
    assert inner.hold_out and {entry.split for entry in inner.entries} == {None, "unseen"}


def test_training_and_validation_classes_together_are_trained_on(cub: Path) -> None:
    (cub / "trainvalclasses.txt").unlink()
    write_lines(cub / "trainclasses.txt", TRAINED[:2])
    write_lines(cub / "valclasses.txt", TRAINED[2:])
    splits = {entry.label: entry.split for entry in list_folder(cub).entries}
    assert splits == {species(name): "unseen" if name in UNSEEN else None for name in SPECIES}


def test_without_class_lists_the_official_split_counts(cub: Path) -> None:
    for name in ("trainvalclasses.txt", "testclasses.txt"):
        (cub / name).unlink()
    train, test = load(cub, "train"), load(cub, "test")
    assert len(train) == len(test) == 16
    for data, numbers in ((train, range(1, 5)), (test, range(5, 9))):
        assert {int(re.findall(r"_(\d{4})_", file)[0]) for file in data.files} == set(numbers)


def test_birds_are_cut_out_by_their_boxes(cub: Path) -> None:
    cut = load(cub, "unseen")
    box = list_folder(cub).entries[0].box
    assert box == (10.0, 5.0, 24.0, 20.0)
    (cub / "CUB_200_2011" / "bounding_boxes.txt").unlink()
    whole = load(cub, "unseen")
    assert list_folder(cub).layout == "CUB-200-2011 with captions of text_c10"
    assert cut.files == whole.files and cut.fingerprint != whole.fingerprint
    assert not np.array_equal(cut.pictures, whole.pictures)


def test_attributes_that_were_seen_for_certain_are_known(cub: Path) -> None:
    listing = list_folder(cub)
    assert listing.attribute_sizes == (3, 2)
    data = load(cub, "unseen")
    assert data.attribute_sizes == (3, 2) and data.attributes is not None
    for file, (bill, wing) in zip(data.files, data.attributes, strict=True):
        picture = 24 + int(re.findall(r"_(\d{4})_", file)[0])
        # Two colours at once are no value, and neither is a guess.
        assert (bill, wing) == (picture % 3, -1)
    replace_text(
        cub / "CUB_200_2011" / "attributes" / "image_attribute_labels.txt",
        "25 5 1 4 1.509",
        "25 5 1 1 1.509",
    )
    assert load(cub, "unseen").fingerprint != data.fingerprint
    entry = next(e for e in list_folder(cub).entries if e.captions[0] == "caption 0 of picture 25")
    assert entry.attributes == (1, 0)


def test_attributes_without_their_meaning_are_left_out_in_words(cub: Path) -> None:
    (cub / "attributes.txt").unlink()
    listing = list_folder(cub)
    assert listing.attribute_sizes == () and "attributes.txt" in listing.remarks[0]


def test_without_captions_there_are_labels_and_a_remark(tmp_path: Path) -> None:
    folder = write_cub(tmp_path / "birds", reed=False)
    listing = list_folder(folder)
    assert listing.layout == "CUB-200-2011 without captions, cut to the boxes"
    assert "there is no folder text_c10" in listing.remarks[0] and not listing.faults
    data = load(folder, "train")
    assert data.captions == ((),) * 16 and data.classes == 4


def test_pictures_captions_and_class_lists_alone_are_enough(cub: Path) -> None:
    root = cub / "CUB_200_2011"
    (root / "images").rename(cub / "images")
    shutil.rmtree(root)
    listing = list_folder(cub)
    assert len(listing.entries) == 32 and not listing.faults
    assert {entry.split for entry in listing.entries} == {None, "unseen"}


def test_pictures_and_captions_that_miss_each_other_are_named(cub: Path) -> None:
    images, texts = cub / "CUB_200_2011" / "images", cub / "text_c10"
    gone = next((images / SPECIES[0]).iterdir())
    gone.unlink()
    mute = sorted((texts / SPECIES[1]).iterdir())[2]
    mute.unlink()
    (sorted((texts / SPECIES[1]).iterdir())[3]).write_bytes(b"caf\xe9\n")
    (sorted((texts / SPECIES[2]).iterdir())[0]).write_text("\n\n")
    save(images / SPECIES[2] / "unlisted.jpg", 5)
    faults = {fault.file.split("/")[-1]: fault for fault in list_folder(cub).faults}
    assert faults[gone.name].kind == FaultKind.NO_PICTURE
    assert "images.txt:" in faults[gone.name].detail
    assert faults[f"{gone.stem}.txt"].kind == FaultKind.NO_PICTURE
    assert faults[f"{mute.stem}.jpg"].kind == FaultKind.NO_CAPTION
    assert f"text_c10/{SPECIES[1]}/{mute.name}" in faults[f"{mute.stem}.jpg"].detail
    assert "images.txt does not name it" in faults["unlisted.jpg"].detail
    assert sum("is not UTF-8 (byte 3)" in fault.detail for fault in faults.values()) == 1
    assert sum("a blank one" in fault.detail for fault in faults.values()) == 1
    assert len(faults) == 6


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["testclasses.txt"], "testclasses.txt is missing beside trainvalclasses.txt"),
        (["trainvalclasses.txt"], "trainvalclasses.txt is missing beside testclasses.txt"),
        (["CUB_200_2011/images.txt"], "images.txt is missing, which says whose numbers"),
        (
            ["trainvalclasses.txt", "testclasses.txt", "CUB_200_2011/train_test_split.txt"],
            "nothing says which pictures are trained on; put Reed's trainvalclasses.txt",
        ),
    ],
)
def test_a_list_that_is_missing_is_named(cub: Path, missing: list[str], words: str) -> None:
    for name in missing:
        (cub / name).unlink()
    with pytest.raises(DataError, match=words):
        list_folder(cub)


@pytest.mark.parametrize(
    ("path", "old", "new", "words"),
    [
        (
            "testclasses.txt",
            UNSEEN[0],
            "201.Dodo",
            r"testclasses\.txt:1 names the class '201\.Dodo'",
        ),
        ("testclasses.txt", UNSEEN[0], TRAINED[1], r"which trainvalclasses\.txt names too"),
        ("trainvalclasses.txt", f"{TRAINED[2]}\n", "", "neither trainvalclasses.txt nor testclass"),
        ("CUB_200_2011/classes.txt", SPECIES[3], "004.Dodo", r"class '004\.Dodo', of which there"),
        ("CUB_200_2011/images.txt", "2 001", "1 001", "numbers two pictures 1"),
        ("CUB_200_2011/images.txt", "2 001", "two 001", r"images\.txt:2: reads 'two 001"),
        ("CUB_200_2011/bounding_boxes.txt", "3 10.0", "300 10.0", "picture 300, which images.txt"),
        ("CUB_200_2011/bounding_boxes.txt", "24.0 20.0", "-4.0 20.0", "the box 10.0 5.0 -4.0 20.0"),
        ("CUB_200_2011/bounding_boxes.txt", "24.0 20.0", "24.0 wide", "could not convert string"),
        ("CUB_200_2011/bounding_boxes.txt", " 20.0\n", "\n", "not a number and 4 more"),
        ("attributes.txt", "5 has_wing_color::brown\n", "", "attribute 5, which attributes.txt"),
    ],
)
def test_a_list_that_contradicts_another_is_refused_by_line_and_value(
    cub: Path, path: str, old: str, new: str, words: str
) -> None:
    replace_text(cub / path, old, new)
    with pytest.raises(DataError, match=words):
        list_folder(cub)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("7 0\n", "7 2\n", r"train_test_split\.txt:7: says '2', neither 1 \(train\) nor 0"),
        ("7 0\n", "", "says nothing of 1 pictures, such as CUB_200_2011/images/001"),
    ],
)
def test_a_wrong_official_split_is_refused(cub: Path, old: str, new: str, words: str) -> None:
    for name in ("trainvalclasses.txt", "testclasses.txt"):
        (cub / name).unlink()
    replace_text(cub / "CUB_200_2011" / "train_test_split.txt", old, new)
    with pytest.raises(DataError, match=words):
        list_folder(cub)


def test_a_box_outside_its_picture_is_a_fault(cub: Path) -> None:
    replace_text(cub / "CUB_200_2011" / "bounding_boxes.txt", "3 10.0 5.0", "3 61.0 5.0")
    (fault,) = load(cub, "train").skipped
    assert fault.kind == FaultKind.BAD_LINE
    assert fault.detail == "its box begins at 61, 5, outside its 60 x 50 pixels"


def test_a_caption_file_of_ones_own_speaks_first(cub: Path) -> None:
    captioned(cub / "mine", 2)
    assert list_folder(cub).layout == "mine/metadata.jsonl"


SMALL = [
    *("--resolution", "16", "--width", "4", "--generator-width", "4", "--batch-size", "8"),
    *("--kimg", "0.016", "--caption-steps", "0", "--precision", "no", "--quiet"),
]


def test_the_command_checks_the_folder_and_trains_on_it_as_it_is(
    cub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))
    checked = CliRunner().invoke(main, ["data", "check", str(cub), "--resolution", "16", "--json"])
    assert checked.exit_code == 0, checked.output
    report = json.loads(checked.output)
    assert report["clean"] and report["usable"] == 32 and len(report["labels"]) == 4
    assert report["layout"] == "CUB-200-2011 with captions of text_c10, cut to the boxes"
    assert report["splits"]["unseen"] == 8
    run = tmp_path / "run"
    trained = CliRunner().invoke(
        main, ["run", "gan-cls", "--data", str(cub), "--out", str(run), *SMALL]
    )
    assert trained.exit_code == 0, trained.output
    assert (run / "bundle" / "generator.safetensors").is_file()
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert last["kimg"] == pytest.approx(0.016)


def test_what_the_command_cannot_train_on_is_refused_in_one_line(cub: Path, tmp_path: Path) -> None:
    (cub / "testclasses.txt").unlink()
    for command, code in (
        (["data", "check", str(cub)], 2),
        (["run", "gan-cls", "--data", str(cub), "--out", str(tmp_path / "run")], 1),
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == code
        last = done.output.strip().splitlines()[-1]
        assert "testclasses.txt is missing beside trainvalclasses.txt; put it there" in last
