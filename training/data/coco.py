"""COCO captions (Lin et al. 2014, Chen et al. 2015): five captions a photograph.

`annotations/captions_train2017.json` beside `train2017/`, and so on for val and for 2014; the
pictures may lie one folder deeper (`images/train2017`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from training.data.caption_files import clean_captions, read_object
from training.data.errors import DataError
from training.data.listing import Entry, Listing
from training.data.pictures import FaultKind
from training.data.trees import Tree, picture_names, read_file

_FOLDER = re.compile(r"(train|val)(2014|2017)")
_LIST = re.compile(r"captions_(train|val)(2014|2017)\.json")


def coco_captions(tree: Tree, resolution: int | None) -> Listing | None:
    """List the pictures with their captions; the folders name the splits.

    Where 2014 and 2017 are both there, 2017 speaks: they share most of their pictures, and one's
    training pictures are validated on in the other.

    Raises:
        DataError: there is no list of a folder's captions, or a list is not what it should be.
    """
    pictures: dict[tuple[str, str], dict[str, str]] = {}
    for file in picture_names(tree):
        matched = _FOLDER.fullmatch(posixpath.basename(posixpath.dirname(file)))
        if matched:
            folder = pictures.setdefault((matched[2], matched[1]), {})
            folder[posixpath.basename(file)] = file
    lists: dict[tuple[str, str], str] = {}
    for name in tree.names:
        matched = _LIST.fullmatch(posixpath.basename(name))
        if matched:
            lists.setdefault((matched[2], matched[1]), name)
    if not pictures or not (lists or _is_coco(tree, pictures)):
        return None
    year = max(year for year, _ in lists.keys() & pictures.keys() or pictures)
    listing = Listing(str(tree.path), tree.name, f"COCO captions {year}")
    for other in sorted({other for other, _ in pictures} - {year}):
        listing.remarks.append(
            f"pictures of {other} are not read: {year} speaks, and shares pictures with it"
        )
    for split in ("train", "val"):
        key = year, split
        if key in pictures and key not in lists:
            raise DataError(
                f"{tree.path}: annotations/captions_{split}{year}.json is missing, which holds "
                f"the captions of {split}{year}; fetch the annotations, or move the pictures away"
            )
        if key in lists and key not in pictures:
            listing.remarks.append(
                f"{lists[key]} is not read: the folder {split}{year} is not there"
            )
        elif key in lists:
            _read(tree, listing, lists[key], split, f"{split}{year}", pictures[key])
    return listing


def _is_coco(tree: Tree, pictures: Mapping[tuple[str, str], Mapping[str, str]]) -> bool:
    """Tell by the pictures' names whether folders without any list of captions are of COCO."""
    form = re.compile(r"(COCO_(train|val)2014_)?\d{12}\.jpg")
    names = [name for folder in pictures.values() for name in folder]
    texts = {name for name in tree.names if name.endswith(".txt")}
    return all(map(form.fullmatch, names)) and not texts


def _read(
    tree: Tree, listing: Listing, path: str, split: str, folder: str, pictures: dict[str, str]
) -> None:
    shown = f"{tree.path}: {path}"
    try:
        content = read_object(read_file(tree, path))
    except ValueError as error:
        raise DataError(f"{shown}: {error}; fetch the file again") from error
    names: dict[int, str] = {}
    for place, image in enumerate(_objects(content, "images", shown)):
        number, name = image.get("id"), image.get("file_name")
        if not isinstance(number, int) or not isinstance(name, str):
            raise DataError(
                f"{shown}: images[{place}] has no id and file_name; fetch the file again"
            )
        names[number] = posixpath.basename(name)
    texts: dict[int, list[str]] = {number: [] for number in names}
    for place, one in enumerate(_objects(content, "annotations", shown)):
        number, caption = one.get("image_id"), one.get("caption")
        if not isinstance(number, int) or not isinstance(caption, str):
            raise DataError(
                f"{shown}: annotations[{place}] has no image_id and caption; give the file of "
                "captions, not that of instances"
            )
        if number in texts:
            texts[number].append(caption)
        else:
            listing.fault(
                f"{path}:annotations[{place}]",
                FaultKind.BAD_LINE,
                f"is of image_id {number}, which images does not list",
            )
    for number, name in names.items():
        file = pictures.get(name)
        if file is None:
            listing.fault(
                f"{folder}/{name}",
                FaultKind.NO_PICTURE,
                f"{path} names it, but there is no such file",
            )
            continue
        captions, cut = clean_captions(texts[number])
        listing.entries.append(Entry(file, captions, None, split, cut))
    named = set(names.values())
    for name, file in pictures.items():
        if name not in named:
            listing.fault(file, FaultKind.NO_CAPTION, f"{path} does not name it")


def _objects(content: Mapping[str, object], field: str, shown: str) -> list[dict[str, Any]]:
    rows = content.get(field)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{shown}: holds no list called {field}; give COCO's own file of captions")
    return rows
