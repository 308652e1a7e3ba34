"""The captions and class splits that Reed et al. 2016 (arXiv:1605.05395) gave to birds and flowers.

`text_c10/CLASS/NAME.txt` holds ten captions of the picture NAME, one a line; `trainvalclasses.txt`
and `testclasses.txt` name classes, one a line, so that the test classes are never trained on.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping

from training.data.caption_files import clean_captions
from training.data.errors import DataError
from training.data.listing import Listing
from training.data.pictures import FaultKind
from training.data.trees import Tree, read_text

TEXT_FOLDER = "text_c10"
TRAINING_LISTS = ("trainvalclasses.txt", "trainclasses.txt", "valclasses.txt")
TEST_LIST = "testclasses.txt"


def read_captions(
    tree: Tree, listing: Listing, files: Mapping[str, str], beside: str
) -> tuple[str | None, dict[str, tuple[tuple[str, ...], int]]]:
    """Read the captions of pictures; what is missing on either side becomes a fault.

    Args:
        tree: the files.
        listing: is told where the captions come from, and gets the faults.
        files: the picture of each NAME, or of each CLASS/NAME.
        beside: where captions would be looked for, if there are none.

    Returns:
        Their folder, or None; and for each picture its captions, and how many have been cut.
    """
    folder = _caption_folder(tree, map(posixpath.basename, files))
    if folder is None:
        listing.layout += " without captions"
        listing.remarks.append(
            f"there is no folder {TEXT_FOLDER} with Reed's captions of these pictures, so there "
            f"are labels only; put it beside {beside}"
        )
        return None, {}
    listing.layout += f" with captions of {folder}"
    texts: dict[str, str] = {}
    for name in tree.names:
        if not name.startswith(f"{folder}/") or not name.endswith(".txt"):
            continue
        inner = posixpath.splitext(name[len(folder) + 1 :])[0]
        file = files.get(inner) or files.get(posixpath.basename(inner))
        if file is None:
            listing.fault(name, FaultKind.NO_PICTURE, "there is no picture of that name")
        else:
            texts[name] = file
    captions: dict[str, tuple[tuple[str, ...], int]] = {}
    for text, load in tree.contents(texts):
        try:
            # The published files have U+FFFD where an apostrophe or a dash was.
            lines = load().decode("utf-8-sig").replace("\ufffd", " ").splitlines()
        except UnicodeDecodeError as error:
            reason = f"{text} is not UTF-8 (byte {error.start})"
        except OSError as error:
            reason = f"{text} cannot be read ({error.strerror})"
        else:
            captions[texts[text]] = clean_captions(lines)
            continue
        listing.fault(texts[text], FaultKind.NO_CAPTION, reason)
    spoken = set(texts.values())
    for inner, file in files.items():
        if file not in spoken:
            listing.fault(
                file, FaultKind.NO_CAPTION, f"there is no {folder}/{_with_class(inner)}.txt"
            )
    return folder, captions


def class_split(
    tree: Tree, listing: Listing, folders: Iterable[str], classes: Mapping[str, int]
) -> dict[str, str | None] | None:
    """Read which classes are trained on and which are never seen.

    Args:
        tree: the files.
        listing: is told that some of the trained classes' pictures are held out.
        folders: where the lists may lie.
        classes: number of pictures of each class.

    Returns:
        For each class "unseen", or None where it is trained on; None if there is no list.

    Raises:
        DataError: one of the lists is missing, a class is in both or in neither, or a list names
            one that has no picture.
    """
    names = set(tree.names)
    for folder in dict.fromkeys(folders):
        training = [
            path
            for path in (posixpath.join(folder, name) for name in TRAINING_LISTS)
            if path in names
        ]
        test = posixpath.join(folder, TEST_LIST)
        if training or test in names:
            break
    else:
        return None
    # The first says what the other two say together.
    whole = posixpath.join(folder, TRAINING_LISTS[0])
    training = [whole] if whole in training else training
    lacking = next(
        (path for path, there in ((whole, bool(training)), (test, test in names)) if not there),
        None,
    )
    if lacking is None and len(training) == 1 and training != [whole]:
        lacking = whole
    if lacking is not None:
        raise DataError(
            f"{tree.path}: {lacking} is missing beside "
            f"{training[0] if training else test}; put it there, or remove the other list"
        )
    splits: dict[str, str | None] = {}
    said: dict[str, str] = {}
    for path in [*training, test]:
        for number, line in enumerate(read_text(tree, path).splitlines(), start=1):
            name = line.strip()
            if not name:
                continue
            where = f"{tree.path}: {path}:{number}"
            if name not in classes:
                raise DataError(
                    f"{where} names the class {name!r}, of which there is no picture; "
                    "put its pictures there, or remove the line"
                )
            if name in said and (path == test or said[name] == test):
                raise DataError(
                    f"{where} names the class {name!r}, which {said[name]} names too; "
                    "a class that is tested unseen cannot be trained on: keep it in one list"
                )
            said[name] = path
            splits[name] = "unseen" if path == test else None
    for name, count in classes.items():
        if name not in splits:
            raise DataError(
                f"{tree.path}: neither {' nor '.join([*training, test])} names the class {name!r}, "
                f"which has {count} pictures; add it to one of them"
            )
    if all(split == "unseen" for split in splits.values()):
        raise DataError(
            f"{tree.path}: {' and '.join(training)} names no class; list the classes to train on"
        )
    listing.hold_out = True
    return splits


def _caption_folder(tree: Tree, stems: Iterable[str]) -> str | None:
    """Find the folder `text_c10` (some call it `text`) that has most of the captions."""
    wanted = set(stems)
    held: Counter[str] = Counter()
    for name in tree.names:
        stem, suffix = posixpath.splitext(name)
        if suffix != ".txt" or posixpath.basename(stem) not in wanted:
            continue
        folder = posixpath.dirname(posixpath.dirname(name))
        if posixpath.basename(folder) in (TEXT_FOLDER, "text"):
            held[folder] += 1
    return min(held, key=lambda folder: (-held[folder], folder)) if held else None


def _with_class(inner: str) -> str:
    return inner if "/" in inner else f"CLASS/{inner}"
