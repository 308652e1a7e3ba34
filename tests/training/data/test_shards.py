"""WebDataset shards are read from wherever fsspec reads, once, and never unpacked."""

from __future__ import annotations

import gzip
import io
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import numpy as np
import pytest

from t2i.batch.storage import storage_of
from t2i.batch.writers import Picture, open_shard
from tests.training.data.folders import draw
from tests.training.data.known_layouts import jpeg, samples, tar
from training.data import PictureData, load_data
from training.data.check import check_folder
from training.data.errors import DataError
from training.data.pictures import FaultKind
from training.data.shards import ShardPlace, shards_of, shown_url


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))


def write(folder: Path, **shards: Mapping[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, members in shards.items():
        (folder / f"{name.lstrip('_')}.tar").write_bytes(tar(members))
    return folder


def load(source: str | Path, split: str = "all", **options: object) -> PictureData:
    data = load_data(source, resolution=16, split=split, progress=False, **options)  # type: ignore[arg-type]
    assert isinstance(data, PictureData)
    return data


def numbered(data: PictureData) -> dict[int, tuple[str, ...]]:
    """Captions by the number of the sample."""
    pairs = zip(data.files, data.captions, strict=True)
    return {int(file.split("/")[-1][:6]): captions for file, captions in pairs}


def three(folder: Path) -> Path:
    return write(folder, _000=samples(0, 8), _001=samples(8, 8), _002=samples(16, 8))


@pytest.mark.parametrize("form", ["braces", "list", "folder", "glob", "file://", "file://folder"])
def test_shards_on_this_machine_are_read_however_they_are_named(tmp_path: Path, form: str) -> None:
    folder = three(tmp_path / "shards")
    source = {
        "braces": f"{folder}/{{000..002}}.tar",
        "list": f"{folder}/{{000,001,002}}.tar",
        "folder": str(folder),
        "glob": f"{folder}/*.tar",
        "file://": f"file://{folder}/{{000..002}}.tar",
        "file://folder": f"file://{folder}",
    }[form]
    data = load(source)
    assert data.name == "shards (all)" and not data.skipped
    assert numbered(data) == {n: (f"sample {n}", f"more of {n}") for n in range(24)}
    assert sorted(data.files)[8] == "001.tar/000008.jpg"
    for file, pixels in zip(data.files, data.pictures, strict=True):
        expected = np.asarray(draw(int(file[-10:-4])).crop((4, 0, 36, 32)).reduce(2)).astype(int)
        assert np.abs(pixels - expected).mean() < 8


def test_shards_at_an_address_are_read(memory: fsspec.AbstractFileSystem) -> None:
    for number in range(2):
        memory.pipe(f"/data/{number:03}.tar", tar(samples(10 * number, 10, label="bird")))
    data = load("memory://data/{000..001}.tar")
    assert set(numbered(data)) == set(range(20))
    assert data.label_names == ("bird",)
    assert load("memory://data").fingerprint == data.fingerprint


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_packed_shards_are_read(memory: fsspec.AbstractFileSystem, name: str) -> None:
    memory.pipe(f"/data/{name}", gzip.compress(tar(samples(0, 20))))
    assert set(numbered(load(f"memory://data/{name}"))) == set(range(20))


def test_what_a_batch_job_draws_can_be_learned_from(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        with open_shard(storage_of(tmp_path), f"{shard:06}", "webdataset") as writer:
            for number in range(10 * shard, 10 * shard + 10):
                buffer = io.BytesIO()
                draw(number).save(buffer, "PNG")
                described = {"id": number, "seed": 3, "caption": f"bird {number}"}
                writer.add(Picture(f"{number:06}-0000", buffer.getvalue(), described))
    data = load(tmp_path / "shards")
    assert numbered(data) == {number: (f"bird {number}",) for number in range(20)}
    assert not data.skipped


def test_one_shard_by_its_path_is_read_with_labels(tmp_path: Path) -> None:
    members = {}
    for number in range(20):
        members[f"{number:06}.jpg"] = jpeg(number)
        members[f"{number:06}.cls"] = f"{number % 2}\n".encode()
    data = load(write(tmp_path / "x", one=members) / "one.tar")
    assert data.name == "one (all)" and data.label_names == ("0", "1")
    assert data.captions == ((),) * 20 and data.labels is not None
    assert [int(file[-10:-4]) % 2 for file in data.files] == data.labels.tolist()


def test_a_second_run_reads_no_shard_again(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {**samples(0, 20, label="bird"), "bad.txt": b"nothing"}
    memory.pipe("/data/a.tar", tar(members))
    first = load("memory://data/a.tar")

    def read_again(*_: object) -> None:
        raise AssertionError("a shard was read again")

    with monkeypatch.context() as patched:
        patched.setattr(ShardPlace, "pictures", read_again)
        second = load("memory://data/a.tar")
    assert second.fingerprint == first.fingerprint
    assert second.captions == first.captions and second.skipped == first.skipped
    assert len(first.skipped) == 1 and second.label_names == ("bird",)
    memory.pipe("/data/a.tar", tar(samples(1, 20)))
    assert set(numbered(load("memory://data/a.tar"))) == set(range(1, 21))


def test_what_is_not_decoded_any_more_is_read_anew(tmp_path: Path) -> None:
    source = write(tmp_path / "x", _0=samples(0, 20))
    first = load(source)
    (pixels,) = (tmp_path / "cache" / "pictures").glob("*.rgb")
    pixels.unlink()
    second = load(source)
    assert second.fingerprint == first.fingerprint and len(second) == 20 and not second.skipped


def test_splits_come_of_the_json_or_of_the_names_of_shards(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "x",
        **{
            "a-train-000": samples(0, 16) | samples(90, 1, split="unseen"),
            "a-val-000": samples(20, 3),
            "a-test": samples(30, 2),
        },
    )
    splits = {name: set(numbered(load(folder, name))) for name in ("val", "test", "unseen")}
    assert splits == {"val": {20, 21, 22}, "test": {30, 31}, "unseen": {90}}
    assert set(numbered(load(folder, "train"))) == set(range(16))
    # Without a train one, names are but names.
    folder = write(tmp_path / "y", unseen=samples(0, 20))
    assert set(load(folder).files) and load(folder, "train").name == "unseen"


def test_pictures_and_captions_that_miss_each_other_are_named(tmp_path: Path) -> None:
    members = samples(0, 60)
    del members["000003.jpg"]
    del members["000005.txt"], members["000005.json"]
    members["000007.json"] = b'{"caption": '
    members["000008.json"] = b'{"caption": 3}'
    members["000009.txt"] = b"caf\xe9"
    members["000010.jpg"] = members["000010.jpg"][:200]
    members["README.md"] = b"ours"
    folder = write(tmp_path / "x", _0=members)
    report = check_folder(folder, resolution=16, progress=False)
    found = {fault.file: (fault.kind, fault.detail) for fault in report.faults}
    assert found.pop("0.tar/000010.jpg")[0] == FaultKind.TRUNCATED
    assert found == {
        "0.tar/000003.txt": (
            FaultKind.NO_PICTURE, "there is no picture of that name next to it",
        ),
        "0.tar/000005.jpg": (
            FaultKind.NO_CAPTION, "there is no .txt or .json of that name next to it",
        ),
        "0.tar/000007.json": (
            FaultKind.BAD_LINE, "is not JSON (Expecting value at column 13)",
        ),
        "0.tar/000008.json": (FaultKind.BAD_LINE, "caption holds int, not text"),
        "0.tar/000009.txt": (FaultKind.BAD_LINE, "is not UTF-8 (byte 3)"),
    }  # fmt: skip
    assert report.usable == 54 and report.hint is not None and "--sort=name" in report.hint
    data = load(folder)
    assert set(data.skipped) == set(report.faults) and len(data) == 54


def test_a_label_alone_is_no_caption_where_others_have_one(tmp_path: Path) -> None:
    members = samples(0, 30)
    members |= {"000030.jpg": jpeg(30), "000030.cls": b"4"}
    folder = write(tmp_path / "x", _0=members)
    for _ in ("decoded", "found in the cache"):
        data = load(folder)
        assert len(data) == 30
        assert [(fault.file, fault.kind) for fault in data.skipped] == [
            ("0.tar/000030.jpg", FaultKind.NO_CAPTION)
        ]
    assert check_folder(folder, resolution=16, progress=False).usable == 30


def test_strict_refuses_at_the_first_fault(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", _0={"a.txt": b"stray", **samples(0, 30)})
    with pytest.raises(DataError, match=r"0\.tar/a\.txt: caption without picture .*; repair"):
        load(folder, strict=True)


def test_files_of_a_sample_that_lie_apart_are_hinted_at(tmp_path: Path) -> None:
    members = samples(0, 20)
    apart = {name: members[name] for name in sorted(members, key=lambda name: name[-3:])}
    folder = write(tmp_path / "x", _0=apart)
    with pytest.raises(DataError, match=r"faulty, .*follow each other in the shard; `tar --sort"):
        load(folder)


@pytest.mark.parametrize("at", ["data", "header"])
def test_a_shard_that_is_cut_off_is_refused_by_member_and_byte(tmp_path: Path, at: str) -> None:
    folder = three(tmp_path / "x")
    whole = (folder / "001.tar").read_bytes()
    place = whole.index(b"000010.txt")
    # Within the data of the member before, or within the header.
    end = place - 600 if at == "data" else place + 100
    (folder / "001.tar").write_bytes(whole[:end])
    name = "in 000010.jpg" if at == "data" else "after 000010.jpg"
    with pytest.raises(
        DataError, match=rf"001\.tar: is cut off {name}, at byte {end}; fetch it again"
    ):
        load(folder)
    assert not list((tmp_path / "cache").rglob("*.rgb"))


def test_a_packed_shard_that_is_cut_off_is_refused(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/data/a.tar.gz", gzip.compress(tar(samples(0, 20)))[:-3000])
    with pytest.raises(DataError, match=r"a\.tar\.gz: is cut off (in|after) \d+\.\w+, at byte"):
        load("memory://data/a.tar.gz")


def test_what_cannot_be_a_shard_is_refused_in_words(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/data/empty.tar", b"")
    memory.pipe("/data/page.tar", b"<html>not found</html>" * 100)
    memory.pipe("/data/folder.tar", tar({"x/metadata.jsonl": b"{}", "x/a.jpg": jpeg(0)}))
    memory.pipe("/data/words.tar", tar({"README.md": b"nothing else"}))
    for name, words in {
        "empty": "is empty; fetch it again",
        "page": "is no tar file",
        "folder": "holds x/metadata.jsonl, so it is a packed folder and no shard; fetch it",
        "words": "holds no picture; a sample is 000123.jpg with",
        "gone": "does not exist; put it there, or name only the shards that do",
    }.items():
        with pytest.raises(DataError, match=rf"memory://data/{name}\.tar: {words}"):
            load(f"memory://data/{name}.tar")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing://x/{000..012}.tar", "Protocol not known: nothing"),
        ("memory://nowhere", "there is no .tar; give shards of WebDataset"),
        ("x/{012..000}.tar", "{012..000} counts down"),
        ("x/{a..c}.tar", "{a..c} does not count; write such as {000..012}"),
        ("x/{0..999999}.tar", "names more than 100000 shards"),
    ],
)
def test_addresses_that_name_nothing_are_refused_in_words(source: str, words: str) -> None:
    with pytest.raises(DataError) as refused:
        load(source)
    assert words in str(refused.value)


def test_braces_count_with_zeros_and_multiply() -> None:
    assert shards_of("s3://b/{008..010}.tar")[1:] == ["s3://b/009.tar", "s3://b/010.tar"]
    assert shards_of("x/{a,b}-{8..9}.tar") == ["x/a-8.tar", "x/a-9.tar", "x/b-8.tar", "x/b-9.tar"]


def test_secrets_of_an_address_are_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    secret = "memory://user:password@data/a.tar?signature=abc"
    assert shown_url(secret) == "memory://data/a.tar"
    with caplog.at_level(logging.INFO), pytest.raises(DataError) as refused:
        load(secret)
    said = str(refused.value) + caplog.text
    assert "password" not in said and "signature" not in said
