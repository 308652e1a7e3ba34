"""MNIST, CIFAR-10 and SVHN are read in every form they are handed round in."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i.errors import InvalidInput
from tests.training.data.real_layouts import (
    colours,
    digits,
    pack,
    write_cifar,
    write_cifar_classes,
    write_mnist,
    write_svhn,
)
from training.data import sets
from training.data.batches import PictureBatches
from training.data.errors import DataError
from training.data.formats import read_cifar_pickle, read_idx
from training.data.load import load_pictures
from training.data.locate import CIFAR10, MNIST, SVHN
from training.data.pictures import PictureData
from training.data.sets import picture_set, stacked_mnist


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("T2I_DATA", raising=False)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("form", ["folder", "raw", "above", "tar", "tgz"])
def test_mnist_comes_out_as_it_went_in(tmp_path: Path, packed: bool, form: str) -> None:
    folder = write_mnist(tmp_path / "data" / "mnist", packed=packed)
    root = {
        "folder": folder,
        "raw": folder / "MNIST" / "raw",
        "above": folder.parent,
        "tar": tmp_path / "mnist.tar",
        "tgz": tmp_path / "mnist.tar.gz",
    }[form]
    if form in ("tar", "tgz"):
        pack(folder, root)
    for split, count, seed in (("train", 40, 0), ("test", 20, 1)):
        data = picture_set(MNIST, split=split, root=root)
        pictures, labels = digits(count, seed)
        assert np.array_equal(data.pictures[..., 0], pictures)
        assert data.labels is not None and np.array_equal(data.labels, labels)
        assert data.label_names == tuple("0123456789") and data.sample_shape == (1, 28, 28)
        assert isinstance(data.pictures, np.memmap)


@pytest.mark.parametrize("binary", [True, False])
def test_cifar_batches_come_in_order_with_colours_last(tmp_path: Path, binary: bool) -> None:
    root = write_cifar(tmp_path / "cifar-10-batches-py", binary=binary)
    data = picture_set(CIFAR10, root=root)
    expected = np.concatenate([colours(10, number)[0] for number in range(5)])
    assert np.array_equal(data.pictures, expected)
    assert data.labels is not None and data.labels.tolist() == list(range(10)) * 5
    test = picture_set(CIFAR10, split="test", root=tmp_path)
    assert np.array_equal(test.pictures, colours(10, 5)[0])


@pytest.mark.parametrize("archived", [True, False])
def test_class_folders_give_the_labels_of_the_set(tmp_path: Path, archived: bool) -> None:
    root = write_cifar_classes(tmp_path / "cifar10")
    if archived:
        root = pack(root, tmp_path / "cifar10.tar")
    data = picture_set(CIFAR10, split="test", root=root)
    assert data.labels is not None and sorted(data.labels) == list(range(10))
    assert np.array_equal(data.pictures[:, 0, 0, 0], 20 * data.labels)


def test_svhn_turns_the_pictures_upright_and_ten_into_zero(tmp_path: Path) -> None:
    data = picture_set(SVHN, root=write_svhn(tmp_path / "svhn"))
    pictures, labels = colours(20, 0)
    assert np.array_equal(data.pictures, pictures)
    assert data.labels is not None and data.labels.tolist() == labels


def test_pictures_are_resized_by_the_filter_that_was_asked(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    raw = Image.fromarray(digits(40)[0][3])
    for filter, resample in (
        ("bilinear", Image.Resampling.BILINEAR),
        ("box", Image.Resampling.BOX),
    ):
        data = picture_set(MNIST, root=root, resolution=14, filter=filter)  # type: ignore[arg-type]
        assert np.array_equal(data.pictures[3, :, :, 0], np.asarray(raw.resize((14, 14), resample)))


def test_grey_becomes_rgb_and_rgb_grey(tmp_path: Path) -> None:
    data = picture_set(MNIST, root=write_mnist(tmp_path / "mnist"), channels=3, resolution=32)
    assert data.pictures.shape == (40, 32, 32, 3)
    assert (data.pictures == data.pictures[..., :1]).all()
    grey = picture_set(CIFAR10, root=write_cifar(tmp_path / "cifar10"), channels=1)
    red, green, blue = np.moveaxis(colours(10, 0)[0].astype(float), 3, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(grey.pictures[:10, ..., 0] - luma).max() <= 1


def test_digits_are_never_mirrored_and_batches_keep_one_channel(tmp_path: Path) -> None:
    data = picture_set(MNIST, root=write_mnist(tmp_path / "mnist"))
    batches = PictureBatches(data)
    batch = batches.batch(0, 40)
    assert not batch.flips.any()
    pictures = batches.pictures(batch)
    assert pictures.shape == (40, 1, 28, 28) and -1 <= pictures.min() < pictures.max() <= 1
    photographs = picture_set(CIFAR10, root=write_cifar(tmp_path / "cifar10"))
    assert PictureBatches(photographs).batch(0, 40).flips.any()


def test_a_split_is_read_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_mnist(tmp_path / "mnist")
    first = picture_set(MNIST, root=root)
    with monkeypatch.context() as patch:
        patch.setattr(sets, "read_split", lambda *_: pytest.fail("it was read again"))
        again = picture_set(MNIST, root=root)
    assert again.fingerprint == first.fingerprint
    shutil.rmtree(root)
    changed = picture_set(MNIST, root=write_mnist(root, train=50))
    assert changed.fingerprint != first.fingerprint and len(changed) == 50


def test_packing_does_not_change_the_fingerprint_and_settings_do(tmp_path: Path) -> None:
    packed = write_mnist(tmp_path / "a" / "mnist")
    plain = write_mnist(tmp_path / "b" / "mnist", packed=False)

    def key(root: Path, **options: object) -> str:
        return picture_set(MNIST, root=root, **options).fingerprint  # type: ignore[arg-type]

    assert key(packed) == key(plain)
    others = {
        key(packed, resolution=32),
        key(packed, resolution=32, filter="box"),
        key(packed, channels=3),
        key(packed, count=9),
        key(packed, split="test"),
        key(packed),
    }
    assert len(others) == 6


@pytest.mark.parametrize("damage", ["shorten", "remove", "scribble"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    root, cache = write_mnist(tmp_path / "mnist"), tmp_path / "sets"
    picture_set(MNIST, root=root, cache_dir=cache)
    (pixels,) = cache.glob("*.pixels")
    (known,) = (cache / "known").iterdir()
    if damage == "shorten":
        os.truncate(pixels, 100)
    elif damage == "remove":
        pixels.unlink()
    else:
        known.write_text("{")
    data = picture_set(MNIST, root=root, cache_dir=cache)
    assert np.array_equal(data.pictures[..., 0], digits(40)[0])


def test_a_stack_is_three_digits_and_its_label_reads_them(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    data = stacked_mnist(root=root, count=300)
    pictures, labels = digits(40)
    assert data.pictures.shape == (300, 28, 28, 3) and data.classes == 1000
    known = {picture.tobytes(): str(label) for picture, label in zip(pictures, labels, strict=True)}
    assert data.labels is not None
    for stack, label in zip(data.pictures, data.labels, strict=True):
        read = "".join(known[stack[..., channel].tobytes()] for channel in range(3))
        assert data.label_names[label] == read
    other = stacked_mnist(root=root, count=300, seed=1)
    assert other.fingerprint != data.fingerprint
    assert not np.array_equal(other.labels, data.labels)


def test_a_missing_set_says_where_it_looked_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2I_DATA", str(tmp_path / "here"))
    with pytest.raises(DataError) as error:
        picture_set(SVHN)
    for part in (tmp_path / "here", "downloads", "--data svhn:PATH", "T2I_DATA", "--download"):
        assert str(part) in str(error.value)


def test_nothing_is_fetched_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    fetched = []

    def fetch(target: Path, **_: object) -> None:
        fetched.append(target)
        write_mnist(target)

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    with pytest.raises(DataError):
        picture_set(MNIST)
    assert not fetched
    assert len(picture_set(MNIST, download=True)) == 40
    assert fetched == [tmp_path / "cache" / "downloads" / "mnist"]
    assert len(picture_set(MNIST)) == 40 and len(fetched) == 1


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(DataError, match="mnist: cannot be fetched \\(no route to host\\)"):
        picture_set(MNIST, download=True)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"split": "val"}, "split"),
        ({"resolution": 4}, "resolution"),
        ({"channels": 2}, "channels"),
        ({"filter": "sharp"}, "filter"),
        ({"count": 41}, "count"),
        ({"count": 0}, "count"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, options: dict[str, object], field: str) -> None:
    root = write_mnist(tmp_path / "mnist")
    with pytest.raises(InvalidInput, match=field):
        picture_set(MNIST, root=root, **options)  # type: ignore[arg-type]


def test_a_pickle_that_calls_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(DataError, match=r"asks for (posix|nt)\.mkdir"):
        read_cifar_pickle(pickle.dumps(Evil()), "batch")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8bnonsense", b"\x00\x00\x0d\x01", b"\x00\x00\x08\x01\x00\x00\x00\x09ab"],
)
def test_a_damaged_idx_file_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="labels: cannot be used"):
        read_idx(content, "labels")


def test_a_folder_in_the_format_of_a_set_is_recognised(tmp_path: Path) -> None:
    for folder in (write_mnist(tmp_path / "d" / "digits"), write_cifar(tmp_path / "c" / "things")):
        data = load_pictures(folder)
        assert isinstance(data, PictureData) and data.classes == 10
    assert load_pictures(f"mnist:{tmp_path}/d/digits", split="test").name == "mnist (test)"


REAL = Path(os.environ.get("T2I_DATA", "/nonexistent"))


@pytest.mark.skipif("T2I_DATA" not in os.environ, reason="T2I_DATA names no folder of data sets")
@pytest.mark.parametrize("which", [MNIST, CIFAR10, SVHN], ids=lambda which: which.name)
def test_the_real_sets_are_whole(which: sets.PictureSet) -> None:
    if not any((REAL / f"{alias}.tar").exists() for alias in which.aliases):
        pytest.skip(f"T2I_DATA holds no {which.name}.tar")
    for split in ("train", "test"):
        data = picture_set(which, split=split, root=REAL)
        assert len(data) == which.splits[split] and data.labels is not None
        assert set(data.labels.tolist()) == set(range(10))
        assert data.sample_shape == (which.channels, which.side, which.side)
