"""The layouts of your own pictures: caption files, a text beside each picture, class folders."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from training.data.caption_files import (
    CAPTION_FILES,
    Row,
    clean_captions,
    read_caption_file,
    split_name,
)
from training.data.errors import DataError
from training.data.listing import Entry, Listing
from training.data.pictures import FaultKind
from training.data.trees import FolderTree, Tree, picture_names, read_file

_SPLIT_FOLDERS = frozenset({"train", "val", "test", "unseen"})
_NOT_CAPTIONS = ("readme", "license", "licence", "notice")
# Folders of one size are called by it: below this, a number is more likely a class.
_LEAST_SIZE = 8


def caption_files(tree: Tree, resolution: int | None) -> Listing | None:
    """Read metadata.jsonl, metadata.csv or captions.csv in the folder or below."""
    files = [file for file in tree.names if posixpath.basename(file) in CAPTION_FILES]
    if not files:
        return None
    homes = Counter(posixpath.dirname(file) for file in files)
    for home, count in homes.items():
        if count > 1:
            names = [file for file in files if posixpath.dirname(file) == home]
            raise DataError(
                f"{tree.path}: holds {' and '.join(names)}; keep the one that should speak"
            )
    found = picture_names(tree)
    listing = _listing(tree, " and ".join(files[:3]))
    if len(files) > 3:
        listing.layout = f"{len(files)} caption files"
    rows: list[tuple[str, str, Row]] = []
    for file in files:
        lines, faults = read_caption_file(read_file(tree, file), file)
        listing.faults += faults
        rows += [(file, posixpath.dirname(file), row) for row in lines]
    if len(files) == 1:
        size = _size_folder(tree, found, posixpath.dirname(files[0]), rows, resolution)
        if size is not None:
            listing.layout += f", pictures in {size}"
            listing.name += f"/{posixpath.basename(size)}"
            found = [file for file in found if file.startswith(f"{size}/")]
            rows = [(source, size, row) for source, _, row in rows]
    _join_rows(tree, listing, found, rows, _split_folders(found))
    texts = _texts_beside(tree.names, found)
    beside = sum(file in texts for file in found)
    if beside:
        listing.remarks.append(
            f"{beside} pictures have a .txt beside them, which is not read: {files[0]} speaks"
        )
    return listing


def texts_beside(tree: Tree, resolution: int | None) -> Listing | None:
    """Read the .txt of the same name beside each picture; each line is a caption."""
    found = picture_names(tree)
    texts = _texts_beside(tree.names, found)
    if not any(file in texts for file in found):
        return None
    splits = _split_folders(found)
    listing = _listing(tree, "a .txt beside each picture")
    of_text = {texts.pop(file): file for file in found if file in texts}
    for file in set(found) - set(of_text.values()):
        listing.fault(file, FaultKind.NO_CAPTION, "there is no .txt of that name beside it")
    for text, load in tree.contents(of_text):
        file = of_text[text]
        try:
            lines = load().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            listing.fault(file, FaultKind.NO_CAPTION, f"{text} is not UTF-8 (byte {error.start})")
            continue
        except OSError as error:
            listing.fault(file, FaultKind.NO_CAPTION, f"{text} cannot be read ({error.strerror})")
            continue
        captions, cut = clean_captions(lines)
        listing.entries.append(Entry(file, captions, None, _split_of(file, splits), cut))
    for text in texts.values():
        listing.fault(text, FaultKind.NO_PICTURE, "there is no picture of that name beside it")
    return listing


def caption_file_above(tree: Tree, resolution: int | None) -> Listing | None:
    """Read a caption file of the parent folder, if it names pictures of this one."""
    if not isinstance(tree, FolderTree):
        return None
    parent = tree.path.resolve().parent
    present = [name for name in CAPTION_FILES if (parent / name).is_file()]
    found = picture_names(tree)
    names = set(found)
    for name in present:
        try:
            content = (parent / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"../{name}: cannot be read ({error.strerror}); check its rights"
            ) from error
        lines, faults = read_caption_file(content, f"../{name}")
        if not any(row.file in names for row in lines):
            continue
        if len(present) > 1:
            raise DataError(
                f"{parent}: holds {' and '.join(present)}; keep the one that should speak"
            )
        listing = _listing(tree, f"../{name}")
        # Such folders are called "64" or "128".
        listing.name = f"{parent.name}/{listing.name}"
        listing.faults += faults
        _join_rows(tree, listing, found, [(f"../{name}", "", row) for row in lines], splits=False)
        return listing
    return None


def class_folders(tree: Tree, resolution: int | None) -> Listing:
    """Take the name of the first folder below for the label.

    Raises:
        DataError: there are fewer than two such folders.
    """
    found = picture_names(tree)
    splits = _split_folders(found)
    listing = _listing(tree, "class folders")
    for file in found:
        inner = file.partition("/")[2] if splits else file
        label = inner.partition("/")[0] if "/" in inner else None
        if label is None:
            listing.fault(file, FaultKind.NO_CAPTION, "it lies in no class folder")
        else:
            listing.entries.append(Entry(file, (), label, _split_of(file, splits)))
    if len({entry.label for entry in listing.entries}) < 2:
        raise DataError(
            f"{tree.path}: {len(found)} pictures, but no captions; write metadata.jsonl or "
            "captions.csv, put a .txt beside each picture, or sort them into class folders"
        )
    return listing


def _listing(tree: Tree, layout: str) -> Listing:
    return Listing(str(tree.path), tree.name, layout)


def _split_folders(found: list[str]) -> bool:
    """Tell whether the first folders below name splits, not classes."""
    firsts = {file.partition("/")[0] if "/" in file else "" for file in found}
    names = {split_name(first) for first in firsts}
    return "train" in names and names <= _SPLIT_FOLDERS


def _split_of(file: str, splits: bool) -> str | None:
    return split_name(file.partition("/")[0]) if splits else None


def _texts_beside(files: Sequence[str], found: list[str]) -> dict[str, str]:
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


def _size_folder(
    tree: Tree,
    found: list[str],
    home: str,
    rows: list[tuple[str, str, Row]],
    resolution: int | None,
) -> str | None:
    """Choose among folders called by a size, each of which holds most of the pictures named.

    Returns:
        The smallest that is not smaller than the resolution, else the largest; None if there is no
        such folder, or the pictures are where the caption file says.
    """
    names = {posixpath.normpath(row.file) for _, _, row in rows}
    held: Counter[str] = Counter()
    known = set(found)
    for file in found:
        inner = posixpath.relpath(file, home or ".")
        top, _, rest = inner.partition("/")
        if top.isdecimal() and int(top) >= _LEAST_SIZE and rest in names:
            held[top] += 1
    if not held or any(posixpath.normpath(posixpath.join(home, name)) in known for name in names):
        return None
    sizes = sorted((int(top), top) for top, count in held.items() if 2 * count > len(names))
    if not sizes:
        return None
    enough = [top for size, top in sizes if resolution is not None and size >= resolution]
    return posixpath.join(home, enough[0] if enough else sizes[-1][1])


def _join_rows(
    tree: Tree,
    listing: Listing,
    found: list[str],
    rows: list[tuple[str, str, Row]],
    splits: bool,
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
            listing.fault(row.file, FaultKind.OUTSIDE, f"{where} names a file outside the folder")
            continue
        slashed = posixpath.normpath(posixpath.join(home, row.file.replace("\\", "/")))
        file = known.get(name) or plain.get(unicodedata.normalize("NFC", slashed))
        if file is None and tree.has(name):
            file = name
        if file is None:
            missing.append(name)
            listing.fault(
                name, FaultKind.NO_PICTURE, f"{where} names it, but there is no such file"
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
            listing.fault(file, FaultKind.CONFLICT, f"{where} gives it another label or split")
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
            listing.fault(file, FaultKind.NO_CAPTION, f"{listing.layout} does not name it")
    listing.entries = list(entries.values())
    listing.hint = _hint(tree, missing, len(rows))


def _hint(tree: Tree, missing: list[str], total: int) -> str | None:
    """Say so when the names are right, but of a folder below."""
    if 2 * len(missing) <= total or not isinstance(tree, FolderTree):
        return None
    below = sorted(path.name for path in tree.path.iterdir() if path.is_dir())
    right = [name for name in below if (tree.path / name / missing[0]).is_file()]
    if not right:
        return None
    return f"the files are in {' and in '.join(right)}: give {tree.path / right[0]} instead"
