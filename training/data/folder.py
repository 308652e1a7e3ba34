"""Your own pictures as a data set: a folder, an archive of one, or shards.

Faulty files are skipped, named in the log and kept in `PictureData.skipped`; too many of them, and
the folder is refused. The rest is decoded once into a memory-mapped file, which later runs find
again by the contents of the pictures and by the settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from t2i.files import write_atomically
from training.data.decoded import DecodedFolder, cache_root, decoded_folder, refusal
from training.data.errors import DataError
from training.data.listing import Listing
from training.data.pictures import Fault, PictureData
from training.data.places import place_at

MAX_FAULTY_SHARE = 0.1
MIN_PICTURES = 16

_log = logging.getLogger("training.data")


def folder(
    source: str | Path,
    *,
    resolution: int,
    split: str = "train",
    count: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
    strict: bool = False,
    min_pictures: int = MIN_PICTURES,
) -> PictureData:
    """Load the pictures of a folder, an archive or shards; see `docs/data.md` for the layouts.

    Args:
        source: the folder, archive, or address of shards; see `place_at`.
        resolution: side of the square pictures in pixels.
        split: "train", "val", another split that the folder names, or "all". Where the folder
            names none, about one picture in twenty is "val", chosen by its content, pictures that
            look the same together.
        count: use only so many pictures of the split, chosen by their content.
        cache_dir: where decoded pictures are kept; None for `cache_root() / "pictures"`.
        progress: show a bar while pictures are decoded.
        strict: refuse the folder at the first faulty file instead of skipping it.
        min_pictures: refuse the folder if fewer remain.

    Returns:
        The pictures with their captions or labels; `skipped` names every file left out.

    Raises:
        DataError: the folder cannot be used, has more than 10 % faulty files, too few pictures,
            or none in the split.
        InvalidInput: an argument is out of range.
    """
    if resolution < 8:
        raise InvalidInput("resolution", resolution, "is too small", "give 8 or more")
    if count is not None and count < 1:
        raise InvalidInput("count", count, "is too small", "give 1 or more")
    place = place_at(source, resolution)
    if not place.streamed:
        if strict and place.listing.faults:
            raise refusal(place.listing.faults[0])
        # Decoding can only make it worse, so say so before it.
        _check_enough(place.listing, len(place.listing.entries), place.listing.faults, min_pictures)
    cache = cache_root() / "pictures" if cache_dir is None else cache_dir
    decoded, pictures = decoded_folder(place, resolution, cache, progress, strict)
    listing = place.listing
    faults = (*listing.faults, *decoded.faults)
    if strict and faults:
        raise refusal(faults[0])
    _check_enough(listing, len(decoded.files), faults, min_pictures)
    for fault in faults:
        _log.warning("skipped %s: %s (%s)", fault.file, fault.kind, fault.detail)
    begin, end = _range(decoded, split, listing)
    if count is not None:
        if count > end - begin:
            raise InvalidInput(
                "count", count, f"exceeds the {end - begin} pictures of {split}", "give fewer"
            )
        end = begin + count
    return _picture_data(listing, decoded, pictures, split, begin, end, faults)


def write_skipped(data: PictureData, run: Path) -> Path | None:
    """Name the files that were left out in `skipped.jsonl` of a run folder.

    Returns:
        The path of the file, or None (and no file) when nothing was left out.
    """
    path = run / "skipped.jsonl"
    if not data.skipped:
        path.unlink(missing_ok=True)
        return None
    lines = [json.dumps(asdict(fault), ensure_ascii=False) + "\n" for fault in data.skipped]
    # What of a name is not UTF-8 becomes a JSON escape.
    return write_atomically(path, "".join(lines).encode("utf-8", "backslashreplace"))


def _check_enough(
    listing: Listing, usable: int, faults: Sequence[Fault], min_pictures: int
) -> None:
    total = usable + len(faults)
    if len(faults) > MAX_FAULTY_SHARE * total:
        first = ", ".join(f"{fault.file} ({fault.kind})" for fault in faults[:3])
        remedy = listing.hint or f"`t2i-train data check {listing.place}` names all"
        raise DataError(
            f"{listing.place}: {len(faults)} of {total} files are faulty, more than "
            f"{MAX_FAULTY_SHARE:.0%}, such as {first}; {remedy}"
        )
    if usable < min_pictures:
        raise DataError(
            f"{listing.place}: only {usable} pictures can be used; give {min_pictures} or more"
        )


def _range(decoded: DecodedFolder, split: str, listing: Listing) -> tuple[int, int]:
    if split == "all":
        return 0, len(decoded.splits)
    begin = decoded.splits.index(split) if split in decoded.splits else 0
    members = decoded.splits.count(split)
    if not members:
        names = ", ".join(sorted(set(decoded.splits)))
        said = "".join(f" ({remark})" for remark in listing.remarks)
        raise DataError(
            f"{listing.place}: has no picture in the split {split!r}; it has {names}{said}"
        )
    return begin, begin + members


def _picture_data(
    listing: Listing,
    decoded: DecodedFolder,
    pictures: NDArray[np.uint8],
    split: str,
    begin: int,
    end: int,
    faults: tuple[Fault, ...],
) -> PictureData:
    entries = {entry.file: entry for entry in listing.entries}
    chosen = [entries[file] for file in decoded.files[begin:end]]
    captions = tuple(entry.captions for entry in chosen)
    # Numbered over all splits, so that a label has one number in all of them.
    names = sorted({entry.label for entry in entries.values() if entry.label is not None})
    numbers = {name: number for number, name in enumerate(names)}
    labels = None
    if names:
        labels = np.array(
            [-1 if entry.label is None else numbers[entry.label] for entry in chosen], np.int64
        )
    content = [
        decoded.fingerprint,
        [begin, end],
        captions,
        names,
        None if labels is None else labels.tolist(),
    ]
    attributes = None
    if listing.attribute_sizes:
        attributes = np.array([entry.attributes for entry in chosen], np.int8)
        content.append([listing.attribute_sizes, attributes.tolist()])
    return PictureData(
        name=listing.name if split == "train" else f"{listing.name} ({split})",
        fingerprint=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        pictures=pictures[begin:end],
        captions=captions,
        labels=labels,
        label_names=tuple(names),
        files=decoded.files[begin:end],
        skipped=faults,
        attributes=attributes,
        attribute_sizes=listing.attribute_sizes,
    )
