"""Decoded pictures in a cache that later runs find by content and settings.

The cache holds `<fingerprint>.rgb`, the pictures one after another, and `known/<key>.json`, what a
folder held when its files had these sizes and times (of shards also what they say of the pictures).
A folder that has not changed is found
without reading a picture; a copy of it finds the same pictures. Files appear complete or not at
all, so processes may share a cache, and any of them may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t2i.files import write_atomically
from training.data.decode import RULE_VERSION
from training.data.duplicates import same_look
from training.data.errors import DataError
from training.data.listing import Entry, Listing
from training.data.pictures import Fault, FaultKind
from training.data.places import Place
from training.data.scan import scan

VALIDATION_SHARE = 0.05

_log = logging.getLogger("training.data")
_ROWS_AT_ONCE = 1_024


@dataclass(frozen=True)
class DecodedFolder:
    """The decoded pictures of all splits, ordered by split; contents of `known/<key>.json`.

    Within a split they are ordered by content hash, so that the first thousand are a fair sample
    of a folder that is sorted by class.

    Attributes:
        fingerprint: SHA-256 (hex) of names, contents, splits, resolution and decoding rule.
        files: file name of each picture.
        splits: split of each picture.
        faults: files that could not be decoded.
    """

    fingerprint: str
    files: tuple[str, ...]
    splits: tuple[str, ...]
    faults: tuple[Fault, ...]


def decoded_folder(
    place: Place, resolution: int, cache: Path, progress: bool, strict: bool
) -> tuple[DecodedFolder, NDArray[np.uint8]]:
    """Find the decoded pictures of a place in the cache, or decode them into it.

    Args:
        place: where the pictures are; its listing is whole afterwards.
        resolution: side of the squares in pixels.
        cache: made if it does not exist.
        progress: show a bar while decoding.
        strict: stop at the first picture that cannot be decoded.

    Returns:
        What was decoded, and `(n, resolution, resolution, 3)` uint8, memory-mapped.

    Raises:
        DataError: the cache cannot be written, a shard cannot be read, or `strict` and a picture
            is faulty.
    """
    known = cache / "known" / f"{_quick_key(place, resolution)}.json"
    if known.is_file():
        index = _read_index(known, place)
        pictures = None if index is None else _map(cache, index, resolution)
        if index is not None and pictures is not None:
            return index, pictures
    try:
        (cache / "known").mkdir(parents=True, exist_ok=True)
        index = _decode_all(place, resolution, cache, progress, strict)
        fields = asdict(index)
        if place.streamed:
            fields["listing"] = asdict(place.listing)
        write_atomically(known, json.dumps(fields).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DataError(
            f"{cache}: decoded pictures cannot be written ({error.strerror}); free some space or "
            "set T2I_CACHE to a folder on another disk"
        ) from error
    pictures = _map(cache, index, resolution)
    if pictures is None:
        raise DataError(f"{cache}: decoded pictures vanished while they were written; run again")
    return index, pictures


def _quick_key(place: Place, resolution: int) -> str:
    """Key by names, sizes and times: tells without reading that nothing has changed."""
    settings = [RULE_VERSION, VALIDATION_SHARE, resolution]
    return hashlib.sha256(json.dumps([settings, place.stamp()]).encode()).hexdigest()


def _read_index(path: Path, place: Place) -> DecodedFolder | None:
    try:
        fields = json.loads(path.read_bytes())
        index = DecodedFolder(
            fingerprint=fields["fingerprint"],
            files=tuple(fields["files"]),
            splits=tuple(fields["splits"]),
            faults=_faults(fields["faults"]),
        )
        if place.streamed:
            said = fields["listing"]
            said["entries"] = [
                Entry(**{**entry, "captions": tuple(entry["captions"]), "attributes": ()})
                for entry in said["entries"]
            ]
            said["faults"] = list(_faults(said["faults"]))
            place.listing = Listing(**{**said, "attribute_sizes": ()})
        return index
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is damaged (%s); decoding again", path, error)
        return None


def _faults(rows: list[dict[str, str]]) -> tuple[Fault, ...]:
    return tuple(Fault(row["file"], FaultKind(row["kind"]), row["detail"]) for row in rows)


def _map(cache: Path, index: DecodedFolder, resolution: int) -> NDArray[np.uint8] | None:
    shape = (len(index.files), resolution, resolution, 3)
    if not index.files:
        return np.zeros(shape, np.uint8)
    path = cache / f"{index.fingerprint}.rgb"
    if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
        return None
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def _decode_all(
    place: Place, resolution: int, cache: Path, progress: bool, strict: bool
) -> DecodedFolder:
    kept: list[Entry] = []
    hashes: list[str] = []
    outlines: list[int] = []
    faces: list[NDArray[np.uint8]] = []
    faults: list[Fault] = []
    work = Path(tempfile.mkdtemp(prefix=".decoding-", dir=cache))
    try:
        # Plain writes, not a memory map: a full disk is then an error, not a crash.
        with (work / "unordered").open("wb") as file:
            for entry, found in scan(
                place, resolution, default_min_side(resolution), progress=progress
            ):
                if strict and place.listing.faults:
                    raise refusal(place.listing.faults[0])
                if isinstance(found, Fault):
                    if strict:
                        raise refusal(found)
                    faults.append(found)
                    continue
                file.write(found.pixels.tobytes())
                kept.append(entry)
                hashes.append(found.sha256)
                outlines.append(found.outline)
                faces.append(found.face)
        groups = same_look(outlines, np.stack(faces)) if kept else []
        splits = assign_splits(place.listing, kept, hashes, groups)
        # Of a stream, all of it tells whether a picture without a caption can be used.
        usable = {entry.file for entry in place.listing.entries}
        order = sorted(
            (index for index, entry in enumerate(kept) if entry.file in usable),
            key=lambda index: (splits[index], hashes[index], kept[index].file),
        )
        lines = [
            (splits[index], hashes[index], kept[index].file, *_box(kept[index])) for index in order
        ]
        settings = [RULE_VERSION, resolution, lines]
        result = DecodedFolder(
            fingerprint=hashlib.sha256(json.dumps(settings).encode()).hexdigest(),
            files=tuple(kept[index].file for index in order),
            splits=tuple(splits[index] for index in order),
            faults=tuple(faults),
        )
        if kept:
            shape = (len(kept), resolution, resolution, 3)
            unordered = np.memmap(work / "unordered", dtype=np.uint8, mode="r", shape=shape)
            with (work / "ordered").open("wb") as file:
                for begin in range(0, len(order), _ROWS_AT_ONCE):
                    file.write(unordered[order[begin : begin + _ROWS_AT_ONCE]].tobytes())
            (work / "ordered").replace(cache / f"{result.fingerprint}.rgb")
        return result
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _box(entry: Entry) -> tuple[object, ...]:
    return () if entry.box is None else (entry.box,)


def assign_splits(
    listing: Listing,
    entries: Sequence[Entry],
    hashes: Sequence[str],
    groups: Sequence[Sequence[int]],
) -> list[str]:
    """Give each picture a split: the one that is named, or by content.

    Args:
        listing: tells whether pictures without a split are held out by content.
        entries: the pictures.
        hashes: SHA-256 (hex) of each picture file.
        groups: indices of pictures that look the same.
    """
    if any(entry.split for entry in entries) and not listing.hold_out:
        return [entry.split or "train" for entry in entries]
    held_out = validation_members(hashes, groups)
    return [
        entry.split or ("val" if held else "train")
        for entry, held in zip(entries, held_out, strict=True)
    ]


def cache_root() -> Path:
    """Return where everything that can be made anew is kept: `$T2I_CACHE`, else `~/.cache/t2i`."""
    chosen = os.environ.get("T2I_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "t2i"


def default_min_side(resolution: int) -> int:
    """Return the shortest side in pixels that is worth enlarging to `resolution`: half of it."""
    return resolution // 2


def validation_members(
    hashes: Sequence[str], groups: Sequence[Sequence[int]], share: float = VALIDATION_SHARE
) -> NDArray[np.bool_]:
    """Choose the pictures of the validation split by content.

    A picture stays in its split when others are added, and pictures of one group stay together.

    Args:
        hashes: SHA-256 (hex) of each picture file.
        groups: indices of pictures that look the same.
        share: of the pictures, on average.

    Returns:
        `(n,)` booleans.
    """
    keys = list(hashes)
    for group in groups:
        key = min(hashes[index] for index in group)
        for index in group:
            keys[index] = key
    return np.array([int(key[:8], 16) < share * 2**32 for key in keys], dtype=bool)


def refusal(fault: Fault) -> DataError:
    """Return the error for a faulty file that is not to be skipped."""
    return DataError(f"{fault.file}: {fault.kind} ({fault.detail}); repair or remove it")
