"""Caltech-UCSD Birds 200-2011 with Reed's ten captions a picture.

`CUB_200_2011/images/001.Black_footed_Albatross/….jpg` and its lists, each line of which begins with
the number that `images.txt` gives to a picture. The bird's box is cut out as papers on text to
image do (a square one and a half times as large as the box's longer side), when the box is there.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from training.data.errors import DataError
from training.data.listing import Box, Entry, Listing
from training.data.pictures import FaultKind
from training.data.reed import (
    TEST_LIST,
    TEXT_FOLDER,
    TRAINING_LISTS,
    class_split,
    read_captions,
)
from training.data.trees import Tree, picture_names, read_file, read_text

_IMAGES = "images.txt"
_CLASSES = "classes.txt"
_SPLIT = "train_test_split.txt"
_BOXES = "bounding_boxes.txt"
_NUMBERED = (_IMAGES, "image_class_labels.txt", _SPLIT, _BOXES)
_CLASS = re.compile(r"\d{3}\.(\w.*)")
_MARKS = "attributes/image_attribute_labels.txt"
# Of 1 not visible, 2 guessing, 3 probably, 4 definitely.
_PRESENT = re.compile(rb"^(\d+) (\d+) 1 [34] ", re.MULTILINE)


class _Line(NamedTuple):
    """A line of a list: what stands after the picture's number."""

    picture: str
    fields: list[str]
    where: str


def cub_200_2011(tree: Tree, resolution: int | None) -> Listing | None:
    """List the pictures with species, captions, splits, boxes and attributes, as far as they go.

    Raises:
        DataError: a list that is needed is missing or contradicts another.
    """
    root = _root(tree)
    if root is None:
        return None
    names = set(tree.names)
    images = posixpath.join(root, "images/")
    found = [file for file in picture_names(tree) if file.startswith(images)]
    listing = Listing(str(tree.path), tree.name, "CUB-200-2011")
    numbers = _numbers(tree, listing, root, found)
    files = found if numbers is None else sorted(set(filter(None, numbers.values())))
    classes = Counter(_class_of(file) for file in files)
    _check_classes(tree, root, classes)
    stems = {posixpath.splitext(file)[0][len(images) :]: file for file in files}
    text, captions = read_captions(tree, listing, stems, images)
    homes = [] if text is None else [posixpath.dirname(text)]
    of_class = class_split(tree, listing, [*homes, root, ""], classes)
    official: dict[str, str] = {}
    if of_class is None:
        official = _official_split(tree, root, numbers)
    path = posixpath.join(root, _BOXES)
    boxes: dict[str, Box] = {}
    if path in names:
        boxes = _boxes(tree, listing, path, numbers)
        listing.layout += ", cut to the boxes"
    attributes = _attributes(tree, listing, root, numbers)
    for file in files:
        name = _class_of(file)
        if text is not None and file not in captions:
            continue
        said, cut = captions.get(file, ((), 0))
        listing.entries.append(
            Entry(
                file,
                said,
                _species(name),
                official[file] if of_class is None else of_class[name],
                cut,
                boxes.get(file),
                attributes.get(file, (-1,) * len(listing.attribute_sizes)),
            )
        )
    return listing


def _root(tree: Tree) -> str | None:
    """Find the folder of `images/`: the tree itself, or one not far below."""
    homes: Counter[str] = Counter()
    for name in tree.names:
        parts = name.split("/")
        if len(parts) >= 3 and parts[-3] == "images" and _CLASS.fullmatch(parts[-2]):
            homes["/".join(parts[:-3])] += 1
    names = set(tree.names)
    for home in sorted(homes, key=lambda home: (-homes[home], home)):
        lists = sum(posixpath.join(home, name) in names for name in (*_NUMBERED, _CLASSES))
        around = (home, posixpath.dirname(home), "")
        reed = any(
            name.startswith(posixpath.join(place, f"{TEXT_FOLDER}/"))
            for name in tree.names
            for place in around
        )
        if lists >= 2 or reed:
            return home
    return None


def _class_of(file: str) -> str:
    return posixpath.basename(posixpath.dirname(file))


def _species(name: str) -> str:
    """Return "Black footed Albatross" for "001.Black_footed_Albatross"."""
    matched = _CLASS.fullmatch(name)
    return (matched[1] if matched else name).replace("_", " ")


def _numbers(tree: Tree, listing: Listing, root: str, found: list[str]) -> dict[str, str] | None:
    """Read the file of each picture's number; None where no list numbers pictures."""
    path = posixpath.join(root, _IMAGES)
    names = set(tree.names)
    if path not in names:
        using = [name for name in _NUMBERED if posixpath.join(root, name) in names]
        if using:
            raise DataError(
                f"{tree.path}: {path} is missing, which says whose numbers stand in {using[0]}; "
                "fetch CUB-200-2011 again"
            )
        return None
    numbers: dict[str, str] = {}
    known = set(found)
    for line in _lines(tree, path, 1):
        file = posixpath.join(root, "images", line.fields[0])
        if line.picture in numbers:
            raise DataError(f"{line.where}: numbers two pictures {line.picture}; fetch it again")
        if file in known:
            numbers[line.picture] = file
        else:
            listing.fault(
                file, FaultKind.NO_PICTURE, f"{line.where} names it, but there is no such file"
            )
            numbers[line.picture] = ""
    for file in sorted(known - set(numbers.values())):
        listing.fault(file, FaultKind.NO_CAPTION, f"{path} does not name it")
    return numbers


def _lines(tree: Tree, path: str, count: int) -> Iterator[_Line]:
    """Yield the lines of a list: a number, then so many fields.

    Raises:
        DataError: a line has fewer or more.
    """
    for number, line in enumerate(read_text(tree, path).splitlines(), start=1):
        picture, *fields = line.split()[: count + 2] or [""]
        if not picture and not fields:
            continue
        where = f"{tree.path}: {path}:{number}"
        if not picture.isdecimal() or len(fields) != count:
            raise DataError(
                f"{where}: reads {line[:60]!r}, not a number and {count} more; fetch the file again"
            )
        yield _Line(picture, fields, where)


def _check_classes(tree: Tree, root: str, classes: Counter[str]) -> None:
    path = posixpath.join(root, _CLASSES)
    if path not in set(tree.names):
        return
    for line in _lines(tree, path, 1):
        if line.fields[0] not in classes:
            raise DataError(
                f"{line.where}: names the class {line.fields[0]!r}, of which there is no picture; "
                "put its pictures there, or remove the line"
            )


def _official_split(tree: Tree, root: str, numbers: dict[str, str] | None) -> dict[str, str]:
    path = posixpath.join(root, _SPLIT)
    if numbers is None or path not in set(tree.names):
        raise DataError(
            f"{tree.path}: nothing says which pictures are trained on; put Reed's "
            f"{TRAINING_LISTS[0]} and {TEST_LIST} beside the captions (test species are then "
            f"never seen), or the official {_SPLIT} beside {_IMAGES}"
        )
    splits: dict[str, str] = {}
    for line in _of_pictures(tree, path, 1, numbers):
        if line.fields[0] not in ("0", "1"):
            raise DataError(
                f"{line.where}: says {line.fields[0]!r}, neither 1 (train) nor 0 (test); "
                "fetch the file again"
            )
        splits[line.picture] = "train" if line.fields[0] == "1" else "test"
    missing = sorted(set(filter(None, numbers.values())) - set(splits))
    if missing:
        raise DataError(
            f"{tree.path}: {path} says nothing of {len(missing)} pictures, such as {missing[0]}; "
            "fetch the file again"
        )
    return splits


def _of_pictures(tree: Tree, path: str, count: int, numbers: dict[str, str]) -> Iterator[_Line]:
    """Yield the lines of a list with files in place of numbers; pictures that are gone left out."""
    for line in _lines(tree, path, count):
        if line.picture not in numbers:
            raise DataError(
                f"{line.where}: speaks of picture {line.picture}, which {_IMAGES} does not "
                "number; fetch both again"
            )
        if numbers[line.picture]:
            yield line._replace(picture=numbers[line.picture])


def _boxes(
    tree: Tree, listing: Listing, path: str, numbers: dict[str, str] | None
) -> dict[str, Box]:
    assert numbers is not None  # the list counts among those that need images.txt
    boxes: dict[str, Box] = {}
    for line in _of_pictures(tree, path, 4, numbers):
        try:
            left, top, width, height = map(float, line.fields)
        except ValueError as error:
            raise DataError(f"{line.where}: {error}; fetch the file again") from error
        if not (left >= 0 and top >= 0 and 0 < width < 1e5 and 0 < height < 1e5):
            raise DataError(
                f"{line.where}: gives {line.picture} the box {' '.join(line.fields)}, which is "
                "none; fetch the file again"
            )
        boxes[line.picture] = left, top, width, height
    bare = sorted(set(filter(None, numbers.values())) - set(boxes))
    if bare:
        listing.remarks.append(
            f"{path} gives no box to {len(bare)} pictures, such as {bare[0]}; they are used whole"
        )
    return boxes


def _attributes(
    tree: Tree, listing: Listing, root: str, numbers: dict[str, str] | None
) -> dict[str, tuple[int, ...]]:
    """Read what people saw of each bird: 28 attributes, each of one of a few values.

    A value counts where exactly one of its attribute was seen, at least probably.
    """
    names = set(tree.names)
    path = posixpath.join(root, _MARKS)
    meanings = [
        posixpath.join(folder, "attributes.txt")
        for folder in (posixpath.join(root, "attributes"), root, posixpath.dirname(root), "")
    ]
    meaning = next((name for name in meanings if name in names), None)
    if numbers is None or path not in names:
        return {}
    if meaning is None:
        listing.remarks.append(
            f"{path} is not read: attributes.txt, which says what its numbers mean, is missing"
        )
        return {}
    groups: dict[str, int] = {}
    sizes: list[int] = []
    place: dict[int, tuple[int, int]] = {}
    for line in _lines(tree, meaning, 1):
        group = groups.setdefault(line.fields[0].partition("::")[0], len(groups))
        if group == len(sizes):
            sizes.append(0)
        place[int(line.picture)] = group, sizes[group]
        sizes[group] += 1
    listing.attribute_sizes = tuple(sizes)
    values: dict[str, list[int]] = {}
    several: set[tuple[str, int]] = set()
    for picture, number in _PRESENT.findall(read_file(tree, path)):
        file = numbers.get(picture.decode(), "")
        if int(number) not in place:
            raise DataError(
                f"{tree.path}: {path} speaks of attribute {int(number)}, which {meaning} does not "
                "name; fetch both again"
            )
        if file:
            group, value = place[int(number)]
            row = values.setdefault(file, [-1] * len(sizes))
            if row[group] != -1:
                several.add((file, group))
            row[group] = value
    for file, group in several:
        values[file][group] = -1
    return {file: tuple(row) for file, row in values.items()}
