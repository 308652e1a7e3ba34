"""Oxford-102 flowers (Nilsback and Zisserman 2008) with Reed's ten captions a picture.

`jpg/image_00001.jpg` and so on, `imagelabels.mat` with a class for each, and either Reed's class
lists or `setid.mat`, the official split.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter

from training.data.errors import DataError
from training.data.formats import read_mat
from training.data.listing import Entry, Listing
from training.data.reed import (
    TEST_LIST,
    TEXT_FOLDER,
    TRAINING_LISTS,
    class_split,
    read_captions,
)
from training.data.trees import Tree, picture_names, read_file

_LABELS = "imagelabels.mat"
_SETS = "setid.mat"
_PICTURE = re.compile(r"image_(\d{5})")
_CLASS = re.compile(r"class_(\d{5})")
_SPLITS = {"trnid": "train", "valid": "val", "tstid": "test"}


def oxford_102(tree: Tree, resolution: int | None) -> Listing | None:
    """List the pictures with class, captions and splits.

    Raises:
        DataError: a list that is needed is missing or contradicts another, or is a MATLAB file and
            scipy is not installed.
    """
    files, home = _pictures(tree)
    if not files:
        return None
    listing = Listing(str(tree.path), tree.name, "Oxford-102 flowers")
    stems = {f"image_{number:05}": file for number, file in files.items()}
    text, captions = read_captions(tree, listing, stems, posixpath.join(home, "jpg/"))
    labels = {} if text is None else _classes_of_texts(tree, text)
    spoken = {number for number, file in files.items() if text is None or file in captions}
    if not spoken <= labels.keys():
        labels = _classes_of_list(tree, home, files)
    classes = Counter(f"class_{labels[number]:05}" for number in files if number in labels)
    homes = [] if text is None else [posixpath.dirname(text)]
    of_class = class_split(tree, listing, [*homes, home, ""], classes)
    official = _official_split(tree, home, files) if of_class is None else {}
    for number, file in files.items():
        if number not in spoken:
            continue
        said, cut = captions.get(file, ((), 0))
        label = labels[number]
        split = official[number] if of_class is None else of_class[f"class_{label:05}"]
        listing.entries.append(Entry(file, said, _flower(label), split, cut))
    return listing


def _pictures(tree: Tree) -> tuple[dict[int, str], str]:
    """Find the pictures by number, and the folder of `jpg/`; nothing if the set is not there."""
    found: dict[str, dict[int, str]] = {}
    for file in picture_names(tree):
        folder, name = posixpath.split(file)
        matched = _PICTURE.fullmatch(posixpath.splitext(name)[0])
        if matched and posixpath.basename(folder) == "jpg":
            found.setdefault(posixpath.dirname(folder), {})[int(matched[1])] = file
    names = set(tree.names)
    for home in sorted(found, key=lambda home: (-len(found[home]), home)):
        listed = {posixpath.join(home, name) for name in (_LABELS, _SETS)}
        if names & listed or any(f"{TEXT_FOLDER}/class_" in name for name in names):
            return found[home], home
    return {}, ""


def _classes_of_texts(tree: Tree, text: str) -> dict[int, int]:
    """Take the class of each picture from the folder that its captions are in."""
    labels: dict[int, int] = {}
    for name in tree.names:
        folder, stem = posixpath.split(posixpath.splitext(name)[0])
        picture = _PICTURE.fullmatch(stem)
        label = _CLASS.fullmatch(posixpath.basename(folder))
        if picture and label and posixpath.dirname(folder) == text:
            labels[int(picture[1])] = int(label[1])
    return labels


def _classes_of_list(tree: Tree, home: str, files: dict[int, str]) -> dict[int, int]:
    path = posixpath.join(home, _LABELS)
    if path not in set(tree.names):
        raise DataError(
            f"{tree.path}: {path} is missing, which says the class of each flower; fetch it with "
            f"the pictures, or put Reed's captions there as {TEXT_FOLDER}/class_00001/…"
        )
    (numbers,) = read_mat(read_file(tree, path), f"{tree.path}: {path}", "labels")
    labels = {place: int(label) for place, label in enumerate(numbers.reshape(-1), start=1)}
    missing = sorted(set(files) - set(labels))
    if missing:
        raise DataError(
            f"{tree.path}: {path} holds {len(labels)} classes, none for {files[missing[0]]}; fetch "
            "the file again"
        )
    return labels


def _official_split(tree: Tree, home: str, files: dict[int, str]) -> dict[int, str]:
    path = posixpath.join(home, _SETS)
    if path not in set(tree.names):
        raise DataError(
            f"{tree.path}: nothing says which pictures are trained on; put Reed's "
            f"{TRAINING_LISTS[0]} and {TEST_LIST} beside the captions (test flowers are then "
            f"never seen), or the official {_SETS} beside {posixpath.join(home, 'jpg')}"
        )
    shown = f"{tree.path}: {path}"
    splits: dict[int, str] = {}
    fields = read_mat(read_file(tree, path), shown, *_SPLITS)
    for (field, split), numbers in zip(_SPLITS.items(), fields, strict=True):
        for number in map(int, numbers.reshape(-1)):
            if splits.setdefault(number, split) != split:
                raise DataError(
                    f"{shown}: {field} names picture {number}, which is in {splits[number]} "
                    "already; fetch the file again"
                )
    missing = sorted(set(files) - set(splits))
    if missing:
        raise DataError(
            f"{shown}: says nothing of {len(missing)} pictures, such as {files[missing[0]]}; fetch "
            "the file again"
        )
    return splits


def _flower(label: int) -> str:
    """Return the name of a flower by its number, from 1."""
    from torchvision.datasets import Flowers102

    names = Flowers102.classes
    return names[label - 1] if 1 <= label <= len(names) else f"class_{label:05}"
