"""A folder may be packed, whatever its layout; what a person types finds what was meant."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.folders import captioned, save, write_rows
from tests.training.data.known_layouts import write_cub
from training.data import PictureData, load_data
from training.data.check import check_folder
from training.data.errors import DataError


def load(path: Path, split: str = "all", resolution: int = 16) -> PictureData:
    data = load_data(
        path,
        resolution=resolution,
        split=split,
        cache_dir=Path(path).parent / "cache",
        progress=False,
    )
    assert isinstance(data, PictureData)
    return data


def pack(folder: Path, archive: Path) -> Path:
    form = {".tar": "tar", ".gz": "gztar", ".zip": "zip"}[archive.suffix]
    base = str(archive).removesuffix(".tar.gz").removesuffix(archive.suffix)
    return Path(shutil.make_archive(base, form, folder.parent, folder.name))


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_a_packed_folder_is_the_folder(tmp_path: Path, suffix: str) -> None:
    folder = captioned(tmp_path / "mine", 20)
    save(folder / ".hidden" / "a.png", 5)
    archive = pack(folder, tmp_path / f"mine{suffix}")
    packed, plain = load(archive), load(folder)
    assert packed.name == plain.name == "mine (all)"
    assert packed.fingerprint == plain.fingerprint
    assert packed.files == plain.files and packed.captions == plain.captions
    assert np.array_equal(packed.pictures, plain.pictures)
    assert check_folder(archive, resolution=16, progress=False).clean
    assert {path.name for path in tmp_path.iterdir()} == {"mine", archive.name, "cache"}


def test_a_packed_folder_may_have_any_layout(tmp_path: Path) -> None:
    folder = write_cub(tmp_path / "birds")
    archive = pack(folder, tmp_path / "birds.tar")
    for split in ("train", "unseen"):
        assert load(archive, split).fingerprint == load(folder, split).fingerprint


def test_a_packed_folder_with_a_text_beside_each_picture_needs_no_order(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for number in range(20):
        save(folder / f"{number:03}.jpg", number)
        (folder / f"{number:03}.txt").write_text(f"number {number}")
    with tarfile.open(tmp_path / "mine.tar", "w") as archive:
        for path in sorted(folder.iterdir(), key=lambda path: (path.suffix, path.name)):
            archive.add(path, f"./mine/{path.name}")
    data = load(tmp_path / "mine.tar")
    assert data.captions[0] == (f"number {int(data.files[0][:3])}",)
    assert data.fingerprint == load(folder).fingerprint


def test_of_a_packed_folder_the_size_that_fits_is_read(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for number in range(18):
        for side in (16, 32):
            save(tmp_path / "set" / str(side) / f"{number}.png", number, side, side)
        split = "unseen" if number < 2 else "train"
        rows.append(
            {"file_name": f"{number}.png", "text": "x", "label": str(number // 2), "split": split}
        )
    write_rows(tmp_path / "set" / "metadata.jsonl", rows)
    archive = pack(tmp_path / "set", tmp_path / "set.tar")
    small, large = load(archive, "train"), load(archive, "train", 32)
    assert small.name == "set/16" and large.name == "set/32" and len(small) == len(large) == 16
    assert load(archive, "unseen").labels is not None
    assert sorted(load(archive, "unseen").files) == ["16/0.png", "16/1.png"]


def test_a_changed_archive_is_read_again(tmp_path: Path) -> None:
    archive = pack(captioned(tmp_path / "mine", 20), tmp_path / "mine.tar")
    first = load(archive)
    save(tmp_path / "mine" / "003.png", 999)
    pack(tmp_path / "mine", archive)
    assert load(archive).fingerprint != first.fingerprint


def test_a_folder_may_have_braces_in_its_name(tmp_path: Path) -> None:
    captioned(tmp_path / "{a,b}", 20)
    for source in (str(tmp_path / "{a,b}"), tmp_path / "{a,b}"):
        data = load_data(source, split="all", cache_dir=tmp_path / "cache", progress=False)
        assert data.name == "{a,b} (all)"


@pytest.mark.parametrize("end", [0.5, 0.9])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, end: float) -> None:
    for suffix in (".tar", ".tar.gz"):
        archive = pack(captioned(tmp_path / "mine", 20), tmp_path / f"mine{suffix}")
        content = archive.read_bytes()
        archive.write_bytes(content[: int(end * len(content)) // 512 * 512 - 100])
        with pytest.raises(DataError, match=r"mine\.tar.*: is cut off .*; fetch it again"):
            load(archive)
