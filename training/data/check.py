"""Looks a folder over before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.data.decode import Decoded
from training.data.decoded import assign_splits, default_min_side
from training.data.duplicates import same_bytes, same_look
from training.data.folder import MAX_FAULTY_SHARE, MIN_PICTURES
from training.data.listing import Entry, Listing
from training.data.pictures import Fault
from training.data.places import place_at
from training.data.scan import scan


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the greatest of some numbers."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread | None:
        """Measure numbers; None if there is none."""
        if not values:
            return None
        return cls(min(values), float(np.median(values)), max(values))


@dataclass(frozen=True)
class FolderReport:
    """All that `t2i-train data check` tells; also the shape of its JSON.

    Attributes:
        folder: as given.
        layout: where captions or labels come from.
        resolution: side in pixels that was checked for.
        usable: pictures that training would use.
        faults: files that training would skip, by kind in the order found.
        fault_counts: how many of each kind.
        verdict: what training would do, in words.
        trains: whether training would accept the folder.
        remarks: what a person should know though it stops nothing.
        hint: what would repair most of the faults, if that is known.
        splits: usable pictures of each split.
        splits_named: whether the folder names the splits; else they follow from the content.
        labels: usable pictures of each label.
        captions: number of captions.
        distinct_captions: number of different captions.
        captions_a_picture: spread over pictures.
        caption_characters: spread over captions.
        caption_words: spread over captions.
        captions_cut: over-long captions, of which only the beginning is used.
        widths: spread in pixels.
        heights: spread in pixels.
        enlarged: pictures whose shorter side is below the resolution.
        modes: usable pictures of each pixel mode; all become RGB.
        formats: usable pictures of each file format.
        same_bytes: groups of files with equal bytes.
        same_look: groups of files that look the same at a glance; includes `same_bytes`.
    """

    folder: str
    layout: str
    resolution: int
    usable: int
    faults: tuple[Fault, ...]
    fault_counts: dict[str, int]
    verdict: str
    trains: bool
    remarks: tuple[str, ...]
    hint: str | None
    splits: dict[str, int]
    splits_named: bool
    labels: dict[str, int]
    captions: int
    distinct_captions: int
    captions_a_picture: Spread | None
    caption_characters: Spread | None
    caption_words: Spread | None
    captions_cut: int
    widths: Spread | None
    heights: Spread | None
    enlarged: int
    modes: dict[str, int]
    formats: dict[str, int]
    same_bytes: tuple[tuple[str, ...], ...]
    same_look: tuple[tuple[str, ...], ...]

    @property
    def clean(self) -> bool:
        """Whether training would use every file."""
        return self.trains and not self.faults

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values."""
        return {"clean": self.clean, **asdict(self)}


def check_folder(
    source: str | Path, *, resolution: int = 64, progress: bool = True
) -> FolderReport:
    """Open every picture of a folder, an archive or shards and report what training would find.

    Args:
        source: pictures in one of the layouts of `docs/data.md`.
        resolution: side in pixels that is to be trained at.
        progress: show a bar on standard error, if that is a terminal.

    Raises:
        DataError: nothing is there, or it holds no pictures, or its captions cannot be read.
    """
    place = place_at(source, resolution)
    unreadable: list[Fault] = []
    read: list[tuple[Entry, Decoded]] = []
    min_side = default_min_side(resolution)
    for entry, outcome in scan(place, resolution, min_side, progress=progress):
        if isinstance(outcome, Fault):
            unreadable.append(outcome)
        else:
            read.append((entry, outcome))
    # Of shards, it is whole only now.
    listing = place.listing
    faults = [*listing.faults, *unreadable]
    usable = {entry.file for entry in listing.entries}
    entries = [entry for entry, _ in read if entry.file in usable]
    found = [outcome for entry, outcome in read if entry.file in usable]
    bytes_groups = same_bytes([one.sha256 for one in found])
    look_groups: list[list[int]] = []
    if found:
        look_groups = same_look(
            [one.outline for one in found], np.stack([one.face for one in found])
        )
    trains, verdict = _verdict(len(found), len(faults))
    texts = [text for entry in entries for text in entry.captions]
    enlarged = sum(one.side < resolution for one in found)
    cut = sum(entry.cut for entry in entries)
    return FolderReport(
        folder=listing.place,
        layout=listing.layout,
        resolution=resolution,
        usable=len(found),
        faults=tuple(faults),
        fault_counts=dict(Counter(str(fault.kind) for fault in faults).most_common()),
        verdict=verdict,
        trains=trains,
        remarks=tuple(_remarks(listing, bytes_groups, look_groups, enlarged, cut, resolution)),
        hint=listing.hint,
        splits=_splits(listing, entries, found, look_groups),
        splits_named=listing.splits_named,
        labels=dict(Counter(entry.label for entry in entries if entry.label is not None)),
        captions=len(texts),
        distinct_captions=len(set(texts)),
        captions_a_picture=Spread.of([len(entry.captions) for entry in entries]),
        caption_characters=Spread.of([len(text) for text in texts]),
        caption_words=Spread.of([len(text.split()) for text in texts]),
        captions_cut=cut,
        widths=Spread.of([one.width for one in found]),
        heights=Spread.of([one.height for one in found]),
        enlarged=enlarged,
        modes=dict(Counter(one.mode for one in found).most_common()),
        formats=dict(Counter(one.format for one in found).most_common()),
        same_bytes=_names(bytes_groups, entries),
        same_look=_names(look_groups, entries),
    )


def _verdict(usable: int, faulty: int) -> tuple[bool, str]:
    total = usable + faulty
    if faulty > MAX_FAULTY_SHARE * total:
        return False, (
            f"training refuses the folder: {faulty} of {total} files are faulty, more than "
            f"{MAX_FAULTY_SHARE:.0%}"
        )
    if usable < MIN_PICTURES:
        return False, (
            f"training refuses the folder: it needs {MIN_PICTURES} pictures, and {usable} can be "
            "used"
        )
    if faulty:
        return True, f"training skips {faulty} of {total} files and uses {usable} pictures"
    return True, f"training uses all {usable} pictures"


def _remarks(
    listing: Listing,
    bytes_groups: list[list[int]],
    look_groups: list[list[int]],
    enlarged: int,
    cut: int,
    resolution: int,
) -> list[str]:
    remarks = list(listing.remarks)
    if bytes_groups:
        surplus = sum(len(group) - 1 for group in bytes_groups)
        remarks.append(f"{surplus} files are byte-for-byte copies of others")
    if len(look_groups) > len(bytes_groups):
        alike = sum(len(group) for group in look_groups)
        remarks.append(f"{alike} pictures look like others, in {len(look_groups)} groups")
    if enlarged:
        remarks.append(f"{enlarged} pictures are smaller than {resolution} pixels and are enlarged")
    if cut:
        remarks.append(f"{cut} captions are over-long; only their beginning is used")
    return remarks


def _splits(
    listing: Listing, entries: list[Entry], found: list[Decoded], look_groups: list[list[int]]
) -> dict[str, int]:
    splits = assign_splits(listing, entries, [one.sha256 for one in found], look_groups)
    counts = Counter({} if listing.splits_named else {"train": 0, "val": 0})
    counts.update(splits)
    return dict(counts.most_common() if listing.splits_named else counts)


def _names(groups: list[list[int]], entries: list[Entry]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(entries[index].file for index in group) for group in groups)
