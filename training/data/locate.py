"""Finds the files of the named picture sets on this machine, or fetches them when asked to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.data.archives import ARCHIVE_SUFFIXES, Files, is_archive
from training.data.decoded import cache_root
from training.data.errors import DataError

Layout = Literal["idx", "pickled batches", "binary batches", "MATLAB", "class folders"]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class PictureSet:
    """What is known of a named picture set before it is found.

    Attributes:
        name: what people type.
        title: one line.
        labels: names of the classes by number.
        splits: how many pictures each split has where it is whole.
        side: of the pictures in pixels.
        channels: 1 for grey, 3 for RGB.
        mirrors: see `PictureData`.
        aliases: what folders and archives of it are called.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    splits: dict[str, int]
    side: int
    channels: int
    mirrors: bool
    aliases: tuple[str, ...]


_DIGITS = tuple("0123456789")
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

MNIST = PictureSet(
    "mnist",
    "handwritten digits, grey, 28 pixels (LeCun et al.)",
    _DIGITS,
    {"train": 60_000, "test": 10_000},
    28,
    1,
    False,
    ("mnist", "MNIST"),
)
CIFAR10 = PictureSet(
    "cifar10",
    "photographs of ten kinds of things, 32 pixels (Krizhevsky 2009)",
    _CIFAR,
    {"train": 50_000, "test": 10_000},
    32,
    3,
    True,
    (
        "cifar10",
        "CIFAR10",
        "cifar-10",
        "cifar-10-python",
        "cifar-10-batches-py",
        "cifar-10-binary",
        "cifar-10-batches-bin",
    ),
)
SVHN = PictureSet(
    "svhn",
    "house numbers in the street, cropped digits, 32 pixels (Netzer et al. 2011)",
    _DIGITS,
    {"train": 73_257, "test": 26_032, "extra": 531_131},
    32,
    3,
    False,
    ("svhn", "SVHN"),
)
PICTURE_SETS = {one.name: one for one in (MNIST, CIFAR10, SVHN)}

_TOPS = {"raw", "train", "test", "extra"}


@dataclass(frozen=True)
class Found:
    """The files of one split.

    Attributes:
        files: the folder or archive.
        layout: how the set is written down there.
        names: the files to read; for idx first the pictures, then the labels.
    """

    files: Files
    layout: Layout
    names: tuple[str, ...]


def locate(which: PictureSet, split: str, root: Path | None, *, download: bool = False) -> Found:
    """Find the files of one split of a set.

    Args:
        which: the set.
        split: one of `which.splits`.
        root: a folder or archive of the set, or a folder that holds one; None for `$T2I_DATA` and
            what was downloaded before.
        download: fetch the set with torchvision when it is not there.

    Raises:
        DataError: it is not there (the message says where was looked and what to do), or it cannot
            be read or fetched.
    """
    looked: list[Path] = []
    for place in [root] if root is not None else _usual_places():
        for files in _candidates(which, place):
            looked.append(files.path)
            found = _recognised(which, split, files)
            if found is not None:
                return found
        if place not in looked:
            looked.append(place)
    if download:
        return _downloaded(which, split, _downloads() if root is None else root)
    raise DataError(
        f"data {which.name}: its {split} split is not in "
        f"{', '.join(str(path) for path in looked)}; give its folder or archive as "
        f"`--data {which.name}:PATH`, set T2I_DATA to the folder that holds it, or fetch it with "
        "--download"
    )


def recognise(path: Path) -> PictureSet | None:
    """Tell which named set a folder or an archive is in its own format; None for all else.

    Class folders are not recognised: a folder of pictures is a folder of pictures.
    """
    if not (path.is_dir() or is_archive(path)):
        return None
    tops = _TOPS | {alias for one in PICTURE_SETS.values() for alias in one.aliases}
    files = Files(path, tops)
    for which in PICTURE_SETS.values():
        found = _recognised(which, "train", files) or _recognised(which, "test", files)
        if found is not None and (found.layout != "class folders" or is_archive(path)):
            return which
    return None


def _usual_places() -> list[Path]:
    given = os.environ.get("T2I_DATA")
    return [*([Path(given).expanduser()] if given else []), _downloads()]


def _downloads() -> Path:
    return cache_root() / "downloads"


def _candidates(which: PictureSet, place: Path) -> Iterator[Files]:
    """Yield what may hold the set: the place itself, or what lies in it under a name of the set."""
    if is_archive(place):
        yield Files(place)
    if not place.is_dir():
        return
    for alias in which.aliases:
        if (place / alias).is_dir():
            yield Files(place / alias)
        for suffix in ARCHIVE_SUFFIXES:
            if (place / f"{alias}{suffix}").is_file():
                yield Files(place / f"{alias}{suffix}")
    # Only into folders that the formats know: T2I_DATA may hold millions of other files.
    yield Files(place, _TOPS)


def _recognised(which: PictureSet, split: str, files: Files) -> Found | None:
    by_base = {name.rpartition("/")[2]: name for name in files.names}

    def named(*bases: str) -> str | None:
        return next((by_base[base] for base in bases if base in by_base), None)

    if which.name == "mnist":
        stem = {"train": "train", "test": "t10k"}[split]
        pair = []
        for kind in ("images-idx3", "labels-idx1"):
            plain = f"{stem}-{kind}-ubyte"
            dotted = plain.replace("-idx", ".idx")
            pair.append(named(plain, dotted, f"{plain}.gz", f"{dotted}.gz"))
        if pair[0] is not None and pair[1] is not None:
            return Found(files, "idx", (pair[0], pair[1]))
    if which.name == "cifar10":
        stems = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
        layout: Layout
        for layout, suffix in (("pickled batches", ""), ("binary batches", ".bin")):
            batches = [named(stem + suffix) for stem in stems]
            whole = tuple(batch for batch in batches if batch is not None)
            if len(whole) == len(stems):
                return Found(files, layout, whole)
    if which.name == "svhn" and (mat := named(f"{split}_32x32.mat")) is not None:
        return Found(files, "MATLAB", (mat,))
    return _class_folders(which, split, files)


def _class_folders(which: PictureSet, split: str, files: Files) -> Found | None:
    """`.../SPLIT/CLASS/FILE` for every class, as unpacked sets are often handed on."""
    found: list[str] = []
    classes = set()
    for name in files.names:
        parts = name.split("/")
        if (
            len(parts) >= 3
            and parts[-3] == split
            and parts[-2] in which.labels
            and parts[-1].lower().endswith(_PICTURES)
        ):
            found.append(name)
            classes.add(parts[-2])
    return Found(files, "class folders", tuple(found)) if len(classes) == 10 else None


def _downloaded(which: PictureSet, split: str, root: Path) -> Found:
    from torchvision import datasets

    target = root / which.name
    fetch: dict[str, Callable[[], Any]] = {
        "mnist": lambda: datasets.MNIST(target, download=True),
        "cifar10": lambda: datasets.CIFAR10(target, download=True),
        "svhn": lambda: datasets.SVHN(target, split=split, download=True),
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        fetch[which.name]()
    except Exception as error:
        # Anything may go wrong on the way to a far machine.
        raise DataError(
            f"data {which.name}: cannot be fetched ({' '.join(str(error).split())}); fetch it by "
            f"other means and give its folder or archive as `--data {which.name}:PATH`"
        ) from error
    found = _recognised(which, split, Files(target))
    if found is None:
        raise DataError(f"data {which.name}: was fetched, but {target} lacks its {split} split")
    return found
