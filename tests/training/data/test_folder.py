"""A folder becomes a data set; what cannot be used is skipped by name, or refuses the folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from t2i.errors import InvalidInput
from tests.training.data.folders import captioned, draw, save, write_rows
from training.data import decoded
from training.data.errors import DataError
from training.data.folder import folder, write_skipped
from training.data.pictures import FaultKind, PictureData


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def load(path: Path, cache: Path, resolution: int = 16, **options: object) -> PictureData:
    """Load a folder without a bar."""
    return folder(path, resolution=resolution, cache_dir=cache, progress=False, **options)  # type: ignore[arg-type]


def test_pictures_captions_and_files_belong_together(tmp_path: Path, cache: Path) -> None:
    data = load(captioned(tmp_path / "mine"), cache, split="all")
    assert len(data) == 30 and data.resolution == 16
    assert data.name == "mine (all)"
    for index, file in enumerate(data.files):
        number = int(Path(file).stem)
        assert data.captions[index] == (f"picture number {number}",)
        box = (4, 0, 36, 32)
        expected = np.asarray(draw(number).crop(box).reduce(2)).astype(int)
        assert np.abs(data.pictures[index] - expected).mean() < 4


def test_the_pictures_are_mapped_not_loaded(tmp_path: Path, cache: Path) -> None:
    data = load(captioned(tmp_path / "mine"), cache)
    assert isinstance(data.pictures, np.memmap) and not data.pictures.flags.writeable


def test_an_unchanged_folder_is_found_without_reading_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(captioned(tmp_path / "mine"), cache)

    def read_again(*_: object, **__: object) -> None:
        raise AssertionError("the pictures were decoded again")

    monkeypatch.setattr(decoded, "scan", read_again)
    second = load(tmp_path / "mine", cache)
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(first.pictures, second.pictures)


def test_a_copy_of_a_folder_finds_the_same_pictures(tmp_path: Path, cache: Path) -> None:
    first = load(captioned(tmp_path / "mine"), cache)
    shutil.copytree(tmp_path / "mine", tmp_path / "elsewhere" / "mine")
    second = load(tmp_path / "elsewhere" / "mine", cache)
    assert second.fingerprint == first.fingerprint
    assert len(list(cache.glob("*.rgb"))) == 1


def test_a_changed_picture_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    first = load(captioned(tmp_path / "mine"), cache, split="all")
    file = first.files[3]
    save(tmp_path / "mine" / file, 999)
    second = load(tmp_path / "mine", cache, split="all")
    assert second.fingerprint != first.fingerprint
    before = first.pictures[3]
    after = second.pictures[second.files.index(file)]
    assert not np.array_equal(before, after)


def test_a_picture_changed_within_its_size_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    rows = []
    for index in range(20):
        save(tmp_path / "mine" / f"{index}.bmp", index)
        rows.append({"file_name": f"{index}.bmp", "text": str(index)})
    write_rows(tmp_path / "mine" / "metadata.jsonl", rows)
    first = load(tmp_path / "mine", cache, split="all")
    size = (tmp_path / "mine" / "7.bmp").stat().st_size
    save(tmp_path / "mine" / "7.bmp", 999)
    assert (tmp_path / "mine" / "7.bmp").stat().st_size == size
    second = load(tmp_path / "mine", cache, split="all")
    assert second.fingerprint != first.fingerprint


def test_a_changed_caption_changes_the_fingerprint_and_decodes_nothing(
    tmp_path: Path, cache: Path
) -> None:
    first = load(captioned(tmp_path / "mine"), cache)
    text = (tmp_path / "mine" / "metadata.jsonl").read_text()
    (tmp_path / "mine" / "metadata.jsonl").write_text(text.replace("number", "no."))
    second = load(tmp_path / "mine", cache)
    assert second.fingerprint != first.fingerprint
    assert len(list(cache.glob("*.rgb"))) == 1


def test_resolutions_are_kept_apart(tmp_path: Path, cache: Path) -> None:
    captioned(tmp_path / "mine")
    assert load(tmp_path / "mine", cache, 16).resolution == 16
    assert load(tmp_path / "mine", cache, 32).resolution == 32


@pytest.mark.parametrize("damage", ["shorten", "remove", "scribble"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, cache: Path, damage: str) -> None:
    first = load(captioned(tmp_path / "mine"), cache)
    expected = first.pictures.copy()
    (pixels,) = cache.glob("*.rgb")
    (known,) = (cache / "known").iterdir()
    if damage == "shorten":
        os.truncate(pixels, 100)
    elif damage == "remove":
        pixels.unlink()
    else:
        known.write_text('{"fingerprint": 3')
    assert np.array_equal(load(tmp_path / "mine", cache).pictures, expected)


def test_nothing_half_done_is_left_behind(tmp_path: Path, cache: Path) -> None:
    load(captioned(tmp_path / "mine"), cache)
    names = sorted(path.name for path in cache.iterdir())
    assert len(names) == 2 and names[1] == "known" and names[0].endswith(".rgb")


def spoil(path: Path, faults: int) -> Path:
    """Draw a folder of 40 pictures of which some are empty files."""
    captioned(path, 40)
    for index in range(faults):
        (path / f"{index:03}.png").write_bytes(b"")
    return path


def test_faulty_files_are_skipped_and_named(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = spoil(tmp_path / "mine", 3)
    (path / "020.png").unlink()
    for _ in ("decoded", "found in the cache"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "training.data"):
            data = load(path, cache, split="all")
        named = {"000.png", "001.png", "002.png", "020.png"}
        assert len(data) == 36
        assert {fault.file for fault in data.skipped} == named
        assert all(any(name in message for message in caplog.messages) for name in named)
    written = write_skipped(data, tmp_path)
    assert written is not None
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert {"file": "000.png", "kind": "empty file", "detail": "0 bytes"} in lines
    assert len(lines) == 4


def test_nothing_skipped_leaves_no_list(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "skipped.jsonl").write_text("of an earlier run\n")
    data = load(captioned(tmp_path / "mine"), cache)
    assert write_skipped(data, tmp_path) is None
    assert not (tmp_path / "skipped.jsonl").exists()


def test_more_than_a_tenth_of_faults_refuses_the_folder(tmp_path: Path, cache: Path) -> None:
    assert len(load(spoil(tmp_path / "four", 4), cache, split="all")) == 36
    with pytest.raises(
        DataError, match=r"5 of 40 files are faulty, more than 10%, such as 000\.png"
    ):
        load(spoil(tmp_path / "five", 5), cache)


def test_strict_refuses_at_the_first_fault(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"000\.png: empty file \(0 bytes\); repair or remove it"):
        load(spoil(tmp_path / "mine", 1), cache, strict=True)
    # Also when an earlier run has skipped it and left the rest in the cache.
    load(tmp_path / "mine", cache)
    with pytest.raises(DataError, match=r"000\.png: empty file"):
        load(tmp_path / "mine", cache, strict=True)


def test_too_few_pictures_are_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="only 15 pictures can be used; give 16 or more"):
        load(captioned(tmp_path / "mine", 15), cache)
    assert len(load(tmp_path / "mine", cache, split="all", min_pictures=15)) == 15


def test_captions_of_another_folder_are_hinted_at(tmp_path: Path, cache: Path) -> None:
    for index in range(20):
        save(tmp_path / "set" / "small" / f"{index}.png", index)
    write_rows(
        tmp_path / "set" / "metadata.jsonl",
        [{"file_name": f"{index}.png", "text": str(index)} for index in range(20)],
    )
    below = tmp_path / "set" / "small"
    with pytest.raises(DataError, match=f"the files are in small: give {below}"):
        load(tmp_path / "set", cache)
    data = load(below, cache, split="all")
    assert data.name == "set/small (all)" and len(data) == 20


def test_splits_named_by_the_folder_are_kept(tmp_path: Path, cache: Path) -> None:
    path = captioned(tmp_path / "mine")
    rows = [json.loads(line) for line in (path / "metadata.jsonl").read_text().splitlines()]
    for index, row in enumerate(rows):
        row["split"] = ("train", "valid", "unseen")[index % 3]
    del rows[0]["split"]
    write_rows(path / "metadata.jsonl", rows)
    for place, name in enumerate(("train", "val", "unseen")):
        data = load(path, cache, split=name)
        assert {int(Path(file).stem) % 3 for file in data.files} == {place}
        assert len(data) == 10
    with pytest.raises(
        DataError, match="no picture in the split 'test'; it has train, unseen, val"
    ):
        load(path, cache, split="test")


def test_the_validation_split_depends_on_content_alone(tmp_path: Path, cache: Path) -> None:
    captioned(tmp_path / "mine", 200)
    train, val = (load(tmp_path / "mine", cache, split=split) for split in ("train", "val"))
    assert len(train) + len(val) == 200 and 3 <= len(val) <= 20
    assert not set(train.files) & set(val.files)
    # More pictures, and other names: the same pictures are held out.
    captioned(tmp_path / "more", 260)
    for file in sorted((tmp_path / "more").glob("*.png")):
        file.rename(file.with_name(f"x{file.name}"))
    text = (tmp_path / "more" / "metadata.jsonl").read_text()
    (tmp_path / "more" / "metadata.jsonl").write_text(text.replace('_name": "', '_name": "x'))
    more = load(tmp_path / "more", cache, split="val")
    assert {f"x{file}" for file in val.files} <= set(more.files)


def test_copies_never_leak_from_training_into_validation(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "mine"
    rows = []
    for index in range(120):
        for name, size in ((f"{index}.png", 64), (f"{index}-copy.png", 64), (f"{index}s.jpg", 48)):
            save(path / name, index, size, size)
            rows.append({"file_name": name, "text": str(index)})
    write_rows(path / "metadata.jsonl", rows)
    val = load(path, cache, split="val")
    train = load(path, cache, split="train")
    assert len(val) >= 3
    assert not {texts[0] for texts in val.captions} & {texts[0] for texts in train.captions}


def test_labels_have_one_number_in_all_splits(tmp_path: Path, cache: Path) -> None:
    seeds = iter(range(100))
    for split, classes in (("train", "abc"), ("val", "bc")):
        for label in classes:
            for index in range(6):
                save(tmp_path / "mine" / split / label / f"{index}.png", next(seeds))
    train, val = (load(tmp_path / "mine", cache, split=split) for split in ("train", "val"))
    for data in (train, val):
        assert data.label_names == ("a", "b", "c")
        assert data.labels is not None
        for file, label in zip(data.files, data.labels, strict=True):
            assert data.label_names[label] == file.split("/")[1]
        assert data.captions == ((),) * len(data)


def test_a_count_is_a_fair_sample_of_a_sorted_folder(tmp_path: Path, cache: Path) -> None:
    for index in range(100):
        save(tmp_path / "mine" / ("early" if index < 50 else "late") / f"{index}.png", index)
    whole = load(tmp_path / "mine", cache)
    some = load(tmp_path / "mine", cache, count=30)
    assert some.files == whole.files[:30]
    assert some.labels is not None and 5 <= int(some.labels.sum()) <= 25
    assert some.fingerprint != whole.fingerprint
    with pytest.raises(InvalidInput, match="count: exceeds the"):
        load(tmp_path / "mine", cache, count=101)


@pytest.mark.parametrize(("option", "value"), [("resolution", 4), ("count", 0)])
def test_arguments_out_of_range_are_named(
    tmp_path: Path, cache: Path, option: str, value: int
) -> None:
    with pytest.raises(InvalidInput, match=f"^{option}: is too small"):
        load(captioned(tmp_path / "mine", 20), cache, **{option: value})


def test_a_dangling_link_is_a_fault(tmp_path: Path, cache: Path) -> None:
    path = captioned(tmp_path / "mine")
    (path / "003.png").unlink()
    (path / "003.png").symlink_to(tmp_path / "gone.png")
    data = load(path, cache, split="all")
    assert [(fault.file, fault.kind) for fault in data.skipped] == [
        ("003.png", FaultKind.UNREADABLE)
    ]


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="decoded pictures cannot be written"):
        load(captioned(tmp_path / "mine"), tmp_path / "file" / "cache")
