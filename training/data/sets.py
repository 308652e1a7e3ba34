"""MNIST, stacked MNIST, CIFAR-10 and SVHN as `PictureData`.

A split is decoded once into memory-mapped files, which later runs find without opening the set. The
cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from t2i.errors import InvalidInput
from t2i.files import write_atomically
from training.data.decoded import cache_root
from training.data.errors import DataError
from training.data.formats import (
    read_cifar_binary,
    read_cifar_pickle,
    read_class_files,
    read_idx_pair,
    read_svhn,
)
from training.data.locate import MNIST, Found, PictureSet, locate
from training.data.pictures import PictureData
from training.data.samples import fingerprint_of

Filter = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]

STACKED = "stacked-mnist"
STACKED_COUNTS = {"train": 128_000, "test": 26_000}

# Part of every key: raise it when pictures come out otherwise than before.
_RULE_VERSION = 1
_ROWS_AT_ONCE = 4_096
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_log = logging.getLogger("training.data")


def picture_set(
    which: PictureSet,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    filter: Filter = "lanczos",
    split: str = "train",
    count: int | None = None,
    root: Path | None = None,
    download: bool = False,
    cache_dir: Path | None = None,
) -> PictureData:
    """Load a split of MNIST, CIFAR-10 or SVHN.

    Args:
        which: the set.
        resolution: side in pixels; None for the set's own.
        channels: 3 for RGB, 1 for grey (luma of ITU-R 601); None for the set's own.
        filter: with which pictures are resized, by Pillow; unused at their own resolution.
        split: one of `which.splits`.
        count: only the first so many pictures; their order is that of the set, or for class
            folders that of a hash of the files.
        root: where to look; see `locate`.
        download: fetch the set when it is not there.
        cache_dir: where decoded pictures are kept; None for `cache_root() / "sets"`.

    Returns:
        The pictures, uint8, with a label each and without captions.

    Raises:
        InvalidInput: an argument is out of range.
        DataError: the set is not there, or is damaged.
    """
    _check(which.name, tuple(which.splits), split, resolution, filter, count)
    if channels not in (None, 1, 3):
        raise InvalidInput("channels", channels, "is neither grey nor RGB", "give 1 or 3")
    side = which.side if resolution is None else resolution
    colours = which.channels if channels is None else channels
    found = locate(which, split, root, download=download)
    cache = cache_root() / "sets" if cache_dir is None else cache_dir
    pictures, labels, fingerprint = _decoded(which, found, split, side, colours, filter, cache)
    if len(pictures) != which.splits[split]:
        _log.warning(
            "%s: %s holds %d pictures of %s, the whole set has %d",
            which.name,
            found.files.path,
            len(pictures),
            split,
            which.splits[split],
        )
    count = _bounded(count, len(pictures), f"{which.name} ({split})")
    return PictureData(
        name=_named(which.name, split),
        fingerprint=fingerprint_of([fingerprint, count]),
        pictures=pictures[:count],
        captions=((),) * count,
        labels=labels[:count],
        label_names=which.labels,
        mirrors=which.mirrors,
    )


def stacked_mnist(
    *,
    resolution: int | None = None,
    filter: Filter = "lanczos",
    split: str = "train",
    count: int | None = None,
    seed: int = 0,
    root: Path | None = None,
    download: bool = False,
    cache_dir: Path | None = None,
) -> PictureData:
    """Draw stacked MNIST: a random digit in each of red, green and blue; 1,000 modes.

    The set of Metz et al. 2017, arXiv:1611.02163, section 3.3, in the number of Lin et al. 2018,
    arXiv:1712.04086 (128,000 to train on).

    Args:
        resolution: side in pixels; None for MNIST's 28.
        filter: with which digits are resized.
        split: "train" stacks training digits, "test" those of the test split.
        count: number of pictures; None for `STACKED_COUNTS`.
        seed: which digits are put together.
        root: where MNIST is; see `locate`.
        download: fetch MNIST when it is not there.
        cache_dir: where the pictures are kept; None for `cache_root() / "sets"`.

    Returns:
        RGB pictures; the label is the number that red, green and blue read, "000" to "999".

    Raises:
        InvalidInput: an argument is out of range.
        DataError: MNIST is not there, or is damaged.
    """
    _check(STACKED, tuple(STACKED_COUNTS), split, resolution, filter, count)
    if seed < 0:
        raise InvalidInput("seed", seed, "is negative", "give 0 or more")
    count = STACKED_COUNTS[split] if count is None else count
    cache = cache_root() / "sets" if cache_dir is None else cache_dir
    digits = picture_set(
        MNIST,
        resolution=resolution,
        filter=filter,
        split=split,
        root=root,
        download=download,
        cache_dir=cache,
    )
    assert digits.labels is not None
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    drawn = rng.integers(0, len(digits), (count, 3))
    labels = digits.labels[drawn] @ np.array([100, 10, 1])
    fingerprint = fingerprint_of([STACKED, _RULE_VERSION, digits.fingerprint, count, seed])
    side = digits.resolution

    def stacks() -> Iterator[NDArray[np.uint8]]:
        for begin in range(0, count, _ROWS_AT_ONCE):
            rows = drawn[begin : begin + _ROWS_AT_ONCE]
            yield np.moveaxis(digits.pictures[rows, :, :, 0], 1, 3)

    shape = (count, side, side, 3)
    pictures = _mapped(cache, fingerprint, shape)
    if pictures is None:
        _write(cache, fingerprint, stacks())
        pictures = _mapped(cache, fingerprint, shape)
        assert pictures is not None
    return PictureData(
        name=_named(STACKED, split),
        fingerprint=fingerprint,
        pictures=pictures,
        captions=((),) * count,
        labels=labels,
        label_names=tuple(f"{number:03}" for number in range(1000)),
        mirrors=False,
    )


def read_split(which: PictureSet, found: Found) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the files of a split as they are: nothing resized, nothing cached.

    Returns:
        `(n, height, width, channels)` uint8 and `(n,)` int64.

    Raises:
        DataError: a file is damaged, or holds a label that the set does not have.
    """
    path = found.files.path
    if found.layout == "class folders":
        pictures, labels = read_class_files(found.files.read(found.names), which.labels)
    else:
        content = dict(found.files.read(found.names))
        parts = [(content[name], f"{path}: {name}") for name in found.names]
        match found.layout:
            case "idx":
                batches = [read_idx_pair(parts[0][0], parts[1][0], parts[0][1])]
            case "pickled batches":
                batches = [read_cifar_pickle(*part) for part in parts]
            case "binary batches":
                batches = [read_cifar_binary(*part) for part in parts]
            case _:
                batches = [read_svhn(*part) for part in parts]
        pictures = np.concatenate([one for one, _ in batches])
        labels = np.concatenate([one for _, one in batches])
    if not len(labels) or labels.min() < 0 or labels.max() >= len(which.labels):
        raise DataError(
            f"{path}: holds {len(labels)} pictures with labels beyond 0 to "
            f"{len(which.labels) - 1}; fetch {which.name} again"
        )
    if pictures.shape[1] != pictures.shape[2]:
        raise DataError(f"{path}: pictures {pictures.shape[1:3]} are not square")
    return pictures, labels


def resized(
    pictures: NDArray[np.uint8], resolution: int, channels: int, filter: Filter
) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures, many at a time, at another resolution, in grey or in RGB.

    Args:
        pictures: `(n, side, side, 1 or 3)` uint8.
        resolution: side wanted in pixels.
        channels: 1 or 3.
        filter: of Pillow.
    """
    for begin in range(0, len(pictures), _ROWS_AT_ONCE):
        rows = pictures[begin : begin + _ROWS_AT_ONCE]
        if channels == 1 and rows.shape[3] == 3:
            rows = np.stack([np.asarray(Image.fromarray(row).convert("L")) for row in rows])[
                ..., None
            ]
        if rows.shape[1] != resolution:
            grey = rows.shape[3] == 1
            rows = np.stack(
                [
                    np.asarray(
                        Image.fromarray(row[..., 0] if grey else row).resize(
                            (resolution, resolution), _FILTERS[filter]
                        )
                    )
                    for row in rows
                ]
            ).reshape(len(rows), resolution, resolution, -1)
        yield np.repeat(rows, 3, axis=3) if rows.shape[3] < channels else rows


def _check(
    name: str,
    splits: tuple[str, ...],
    split: str,
    resolution: int | None,
    filter: str,
    count: int | None,
) -> None:
    if split not in splits:
        raise InvalidInput(
            "split", split, f"is no split of {name}", f"give one of {', '.join(splits)}"
        )
    if resolution is not None and resolution < 8:
        raise InvalidInput("resolution", resolution, "is too small", "give 8 or more")
    if filter not in get_args(Filter):
        raise InvalidInput(
            "filter", filter, "is unknown", f"give one of {', '.join(get_args(Filter))}"
        )
    if count is not None and count < 1:
        raise InvalidInput("count", count, "is too small", "give 1 or more")


def _bounded(count: int | None, available: int, name: str) -> int:
    if count is not None and count > available:
        raise InvalidInput("count", count, f"exceeds the {available} of {name}", "give fewer")
    return available if count is None else count


def _named(name: str, split: str) -> str:
    return name if split == "train" else f"{name} ({split})"


def _decoded(
    which: PictureSet,
    found: Found,
    split: str,
    side: int,
    channels: int,
    filter: Filter,
    cache: Path,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    # The filter moves nothing at the set's own resolution, so it makes no other data there.
    settings = [_RULE_VERSION, which.name, split, side, channels]
    settings += [filter] if side != which.side else []
    quick = json.dumps([settings, found.layout, found.files.stamp(found.names)])
    known = cache / "known" / f"{hashlib.sha256(quick.encode()).hexdigest()}.json"
    if known.is_file():
        entry = _known(cache, known, side, channels)
        if entry is not None:
            return entry
    raw, labels = read_split(which, found)
    key = fingerprint_of(settings, raw, labels)
    shape = (len(raw), side, side, channels)
    if _mapped(cache, key, shape) is None:
        _write(cache, key, resized(raw, side, channels, filter))
    entry_json = {"fingerprint": key, "labels": labels.tolist()}
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(known, json.dumps(entry_json).encode())
    except OSError as error:
        raise _unwritable(cache, error) from error
    pictures = _mapped(cache, key, shape)
    if pictures is None:
        raise DataError(f"{cache}: decoded pictures vanished while they were written; run again")
    return pictures, labels, key


def _known(
    cache: Path, path: Path, side: int, channels: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], str] | None:
    try:
        fields: dict[str, Any] = json.loads(path.read_bytes())
        labels = np.array(fields["labels"], np.int64)
        key = str(fields["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is damaged (%s); decoding again", path, error)
        return None
    pictures = _mapped(cache, key, (len(labels), side, side, channels))
    return None if pictures is None else (pictures, labels, key)


def _mapped(cache: Path, key: str, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    path = cache / f"{key}.pixels"
    if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
        return None
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def _write(cache: Path, key: str, parts: Iterator[NDArray[np.uint8]]) -> None:
    partial = cache / f".{key}.{secrets.token_hex(4)}.tmp"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Plain writes, not a memory map: a full disk is then an error, not a crash.
        with partial.open("xb") as file:
            for part in parts:
                file.write(np.ascontiguousarray(part).data)
        partial.replace(cache / f"{key}.pixels")
    except OSError as error:
        raise _unwritable(cache, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _unwritable(cache: Path, error: OSError) -> DataError:
    return DataError(
        f"{cache}: decoded pictures cannot be written ({error.strerror}); free some space or set "
        "T2I_CACHE to a folder on another disk"
    )
