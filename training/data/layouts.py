"""Finds the pictures of a folder or an archive and what is said of each, without opening a picture.

`LAYOUTS` are asked in turn, and the first that knows the folder speaks; other sources of captions
are not read then:

1. a caption file (`metadata.jsonl`, `metadata.csv` or `captions.csv`) in the folder or below;
   two of them in one folder are refused, since nobody can tell which is meant;
2. CUB-200-2011, Oxford-102 flowers and COCO captions, as they are handed round;
3. a `.txt` beside each picture, each line one caption;
4. a caption file in the parent folder, if it names files of this folder: so one file can serve
   the same pictures at several sizes;
5. class folders: the name of the first folder below is the label.

First folders called train, val, test and so on name splits; what lies below them is read as above.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from training.data.captioned import (
    caption_file_above,
    caption_files,
    class_folders,
    texts_beside,
)
from training.data.coco import coco_captions
from training.data.cub import cub_200_2011
from training.data.errors import DataError
from training.data.listing import Listing
from training.data.oxford import oxford_102
from training.data.trees import PICTURE_SUFFIXES, FolderTree, Tree, picture_names


class Layout(Protocol):
    """A way in which pictures and what is said of them lie in a folder."""

    def __call__(self, tree: Tree, resolution: int | None) -> Listing | None:
        """List the pictures, or return None when the folder is not laid out like that.

        Args:
            tree: the files, among them at least one picture.
            resolution: side in pixels that is wanted, where pictures lie there in several sizes.

        Raises:
            DataError: it is laid out like that, but cannot be used.
        """
        ...


LAYOUTS: tuple[Layout, ...] = (
    caption_files,
    cub_200_2011,
    oxford_102,
    coco_captions,
    texts_beside,
    caption_file_above,
    class_folders,
)


def list_folder(folder: Path, resolution: int | None = None) -> Listing:
    """Find the pictures of a folder with their captions, labels and splits; see `list_tree`.

    Raises:
        DataError: there is no such folder, or it cannot be used.
    """
    return list_tree(FolderTree(folder), resolution)


def list_tree(tree: Tree, resolution: int | None = None) -> Listing:
    """Find the pictures of a folder or an archive with their captions, labels and splits.

    Args:
        tree: the files.
        resolution: side in pixels that is wanted, where pictures lie there in several sizes; None
            takes the largest.

    Raises:
        DataError: there is no picture, neither captions nor classes, two caption files in one
            folder, or a list that the layout needs is missing or contradicts another.
    """
    if not picture_names(tree):
        raise DataError(
            f"{tree.path}: holds no picture; pictures end in {', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    for layout in LAYOUTS:
        listing = layout(tree, resolution)
        if listing is not None:
            listing.finish()
            return listing
    raise AssertionError("class folders list or refuse every folder")
