"""Finds the pictures of a folder and what is said of each, without opening a picture.

Where several sources of captions are present, one speaks and the others are not read:

1. a caption file (`metadata.jsonl`, `metadata.csv` or `captions.csv`) in the folder or below;
   two of them in one folder are refused, since nobody can tell which is meant;
2. a `.txt` beside each picture, each line one caption;
3. a caption file in the parent folder, if it names files of this folder: so one file can serve
   the same pictures at several sizes;
4. class folders: the name of the first folder below is the label.

First folders called train, val, test and so on name splits; what lies below them is read as above.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.data.caption_files import (
    CAPTION_FILES,
    Row,
    clean_captions,
    read_caption_file,
    split_name,
)
from training.data.errors import DataError
from training.data.pictures import Fault, FaultKind

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"}
)

_SPLIT_FOLDERS = frozenset({"train", "val", "test", "unseen"})
_NOT_CAPTIONS = ("readme", "license", "licence", "notice")


@dataclass(frozen=True)
class Entry:
    """A picture file and what is said of it.

    Attributes:
        file: name relative to the folder, with `/`.
        captions: cleaned; empty in folders that have labels only.
        label: name of its class.
        split: the split that the folder or the caption file names, or None.
        cut: how many of its captions were over-long and have been cut.
    """

    file: str
    captions: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None
    cut: int = 0


@dataclass
class Listing:
    """All that a folder says about itself.

    Attributes:
        folder: where it lies.
        layout: which rule applied, in words.
        entries: pictures that may be trained on, if they can be read, by file name.
        faults: files that cannot, and lines without a picture.
        remarks: what a person should know, though it stops nothing.
        hint: what would repair most of the faults, if that is known.
    """

    folder: Path
    layout: str
    entries: list[Entry]
    faults: list[Fault]
    remarks: list[str] = field(default_factory=list)
    hint: str | None = None


def list_folder(folder: Path) -> Listing:
    """Find the pictures of a folder with their captions, labels and splits.

    Raises:
        DataError: there is no such folder, no picture, neither captions nor classes, or two
            caption files in one folder.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder}: {problem}; give a folder with pictures and captions")
    files = sorted(_walk(folder))
    found = [file for file in files if posixpath.splitext(file)[1].lower() in PICTURE_SUFFIXES]
    if not found:
        raise DataError(
            f"{folder}: holds no picture; pictures end in {', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    splits = _split_folders(found)
    texts = _texts_beside(files, found)
    caption_files = [file for file in files if posixpath.basename(file) in CAPTION_FILES]
    if caption_files:
        listing = _from_caption_files(folder, found, caption_files, splits)
        beside = sum(file in texts for file in found)
        if beside:
            listing.remarks.append(
                f"{beside} pictures have a .txt beside them, which is not read: "
                f"{caption_files[0]} speaks"
            )
    elif any(file in texts for file in found):
        listing = _from_texts(folder, found, texts, splits)
    else:
        listing = _from_parent(folder, found) or _from_classes(folder, found, splits)
    _bare_entries_are_faults(listing)
    listing.entries.sort(key=lambda entry: entry.file)
    return listing


def _walk(folder: Path) -> Iterator[str]:
    """Yield all files below, relative and with `/`; links are followed, each folder once."""
    seen: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _hidden(name))
        base = Path(path).relative_to(folder).as_posix()
        for name in files:
            if not _hidden(name):
                yield name if base == "." else f"{base}/{name}"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _split_folders(found: list[str]) -> bool:
    """Tell whether the first folders below name splits, not classes."""
    firsts = {file.partition("/")[0] if "/" in file else "" for file in found}
    names = {split_name(first) for first in firsts}
    return "train" in names and names <= _SPLIT_FOLDERS


def _split_of(file: str, splits: bool) -> str | None:
    return split_name(file.partition("/")[0]) if splits else None


def _texts_beside(files: list[str], found: list[str]) -> dict[str, str]:
    """Map each picture, and each stray text to itself, to the .txt file of the same name."""
    texts = {posixpath.splitext(file)[0]: file for file in files if file.endswith(".txt")}
    stems = {posixpath.splitext(file)[0] for file in found}
    beside = {file: texts[stem] for file in found if (stem := posixpath.splitext(file)[0]) in texts}
    strays = {
        text: text
        for stem, text in texts.items()
        if stem not in stems and not posixpath.basename(stem).lower().startswith(_NOT_CAPTIONS)
    }
    return beside | strays


def _from_caption_files(
    folder: Path, found: list[str], caption_files: list[str], splits: bool
) -> Listing:
    homes = Counter(posixpath.dirname(file) for file in caption_files)
    for home, count in homes.items():
        if count > 1:
            names = [file for file in caption_files if posixpath.dirname(file) == home]
            raise DataError(
                f"{folder}: holds {' and '.join(names)}; keep the one that should speak"
            )
    listing = Listing(folder, " and ".join(caption_files[:3]), [], [])
    if len(caption_files) > 3:
        listing.layout = f"{len(caption_files)} caption files"
    rows: list[tuple[str, str, Row]] = []
    for file in caption_files:
        lines, faults = read_caption_file(folder / file, file)
        listing.faults += faults
        rows += [(file, posixpath.dirname(file), row) for row in lines]
    _join_rows(listing, found, rows, splits)
    return listing


def _from_parent(folder: Path, found: list[str]) -> Listing | None:
    parent = folder.resolve().parent
    present = [name for name in CAPTION_FILES if (parent / name).is_file()]
    names = set(found)
    for name in present:
        lines, faults = read_caption_file(parent / name, f"../{name}")
        if not any(row.file in names for row in lines):
            continue
        if len(present) > 1:
            raise DataError(
                f"{parent}: holds {' and '.join(present)}; keep the one that should speak"
            )
        listing = Listing(folder, f"../{name}", [], faults)
        _join_rows(listing, found, [(f"../{name}", "", row) for row in lines], splits=False)
        return listing
    return None


def _join_rows(
    listing: Listing, found: list[str], rows: list[tuple[str, str, Row]], splits: bool
) -> None:
    """Turn lines into entries; pictures that no line names become faults."""
    known = {file: file for file in found}
    # Names may have been written on another system: decomposed accents, backward slashes.
    plain = {unicodedata.normalize("NFC", file): file for file in found}
    entries: dict[str, Entry] = {}
    refused: set[str] = set()
    missing: list[str] = []
    for source, home, row in rows:
        name = posixpath.normpath(posixpath.join(home, row.file))
        where = f"{source}:{row.line}"
        if name.startswith("../") or posixpath.isabs(name):
            listing.faults.append(
                Fault(row.file, FaultKind.OUTSIDE, f"{where} names a file outside the folder")
            )
            continue
        slashed = posixpath.normpath(posixpath.join(home, row.file.replace("\\", "/")))
        file = known.get(name) or plain.get(unicodedata.normalize("NFC", slashed))
        if file is None and (listing.folder / name).is_file():
            file = name
        if file is None:
            missing.append(name)
            listing.faults.append(
                Fault(name, FaultKind.NO_PICTURE, f"{where} names it, but there is no such file")
            )
            continue
        if file in refused:
            continue
        new = Entry(file, row.captions, row.label, row.split or _split_of(file, splits), row.cut)
        old = entries.get(file)
        if old is None:
            entries[file] = new
            continue
        if (new.label or old.label) != (old.label or new.label) or (
            row.split is not None and old.split not in (None, row.split)
        ):
            entries.pop(file)
            refused.add(file)
            listing.faults.append(
                Fault(file, FaultKind.CONFLICT, f"{where} gives it another label or split")
            )
            continue
        entries[file] = replace(
            old,
            captions=tuple(dict.fromkeys(old.captions + new.captions)),
            label=old.label or new.label,
            split=old.split or new.split,
            cut=old.cut + new.cut,
        )
    for file in found:
        if file not in entries and file not in refused:
            listing.faults.append(
                Fault(file, FaultKind.NO_CAPTION, f"{listing.layout} does not name it")
            )
    listing.entries = list(entries.values())
    listing.hint = _hint(listing.folder, missing, len(rows))


def _hint(folder: Path, missing: list[str], total: int) -> str | None:
    """Say so when the names are right, but of a folder below."""
    if 2 * len(missing) <= total:
        return None
    below = sorted(path.name for path in folder.iterdir() if path.is_dir())
    right = [name for name in below if (folder / name / missing[0]).is_file()]
    if not right:
        return None
    return f"the files are in {' and in '.join(right)}: give {folder / right[0]} instead"


def _from_texts(folder: Path, found: list[str], texts: dict[str, str], splits: bool) -> Listing:
    listing = Listing(folder, "a .txt beside each picture", [], [])
    for file in found:
        if file not in texts:
            listing.faults.append(
                Fault(file, FaultKind.NO_CAPTION, "there is no .txt of that name beside it")
            )
            continue
        text = texts.pop(file)
        try:
            lines = (folder / text).read_text("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            listing.faults.append(
                Fault(file, FaultKind.NO_CAPTION, f"{text} is not UTF-8 (byte {error.start})")
            )
            continue
        except OSError as error:
            listing.faults.append(
                Fault(file, FaultKind.NO_CAPTION, f"{text} cannot be read ({error.strerror})")
            )
            continue
        captions, cut = clean_captions(lines)
        listing.entries.append(Entry(file, captions, None, _split_of(file, splits), cut))
    for text in texts.values():
        listing.faults.append(
            Fault(text, FaultKind.NO_PICTURE, "there is no picture of that name beside it")
        )
    return listing


def _from_classes(folder: Path, found: list[str], splits: bool) -> Listing:
    listing = Listing(folder, "class folders", [], [])
    for file in found:
        inner = file.partition("/")[2] if splits else file
        label = inner.partition("/")[0] if "/" in inner else None
        if label is None:
            listing.faults.append(Fault(file, FaultKind.NO_CAPTION, "it lies in no class folder"))
        else:
            listing.entries.append(Entry(file, (), label, _split_of(file, splits)))
    if len({entry.label for entry in listing.entries}) < 2:
        raise DataError(
            f"{folder}: {len(found)} pictures, but no captions; write metadata.jsonl or "
            "captions.csv, put a .txt beside each picture, or sort them into class folders"
        )
    return listing


def _bare_entries_are_faults(listing: Listing) -> None:
    """Entries without caption are faults, unless the folder has labels and no caption at all."""
    captioned = any(entry.captions for entry in listing.entries)
    kept: list[Entry] = []
    for entry in listing.entries:
        if entry.captions or (entry.label is not None and not captioned):
            kept.append(entry)
        else:
            listing.faults.append(
                Fault(entry.file, FaultKind.NO_CAPTION, "it has no caption, or a blank one")
            )
    listing.entries = kept
