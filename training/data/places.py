"""Where pictures come from: a folder, an archive of one, or WebDataset shards anywhere."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from training.data.archives import is_archive
from training.data.caption_files import CAPTION_FILES
from training.data.layouts import list_tree
from training.data.listing import Entry, Listing
from training.data.shards import ShardPlace, is_pattern, looks_like_shard, shards_of
from training.data.trees import ArchiveTree, FolderTree, Load, Tree, picture_names


class Place(Protocol):
    """Pictures that can be read one after the other, and what is said of them."""

    @property
    def listing(self) -> Listing:
        """What is said of the pictures; of shards whole only when all pictures have been read."""
        ...

    @listing.setter
    def listing(self, listing: Listing) -> None: ...

    @property
    def streamed(self) -> bool:
        """Whether the listing comes with the pictures, so that it is worth keeping."""
        ...

    def pictures(self) -> Iterator[tuple[Entry, Load]]:
        """Yield each picture that may be trained on with what reads its file.

        Raises:
            DataError: an archive or shard is damaged or out of reach.
        """
        ...

    def stamp(self) -> list[object]:
        """Return, as plain values, what changes when a file is changed; no picture is read.

        Raises:
            DataError: a shard is out of reach.
        """
        ...


class TreePlace:
    """A folder or an archive; its listing is known before a picture is opened."""

    streamed = False

    def __init__(self, tree: Tree, resolution: int | None = None) -> None:
        """List the pictures; see `list_tree`.

        Raises:
            DataError: the folder cannot be used.
        """
        self._tree = tree
        self.listing = list_tree(tree, resolution)

    def pictures(self) -> Iterator[tuple[Entry, Load]]:
        """Yield each picture with what reads its file, in the order that reads fastest."""
        entries = {entry.file: entry for entry in self.listing.entries}
        for file, load in self._tree.contents(entries):
            yield entries[file], load

    def stamp(self) -> list[object]:
        """Return names, sizes and times: they tell without reading that nothing has changed."""
        entries = self.listing.entries
        stamps = self._tree.stamp([entry.file for entry in entries])
        rows: list[object] = [
            [entry.file, entry.split, *stamp, *([] if entry.box is None else [entry.box])]
            for entry, stamp in zip(entries, stamps, strict=True)
        ]
        held = ["hold out"] if self.listing.hold_out else []
        return [str(self._tree.path.resolve()), rows, *held]


def place_at(source: str | Path, resolution: int | None = None) -> Place:
    """Find out what a person means by a path or an address.

    Args:
        source: a folder; a .tar or .zip of one; a .tar shard of WebDataset, a folder of them, an
            address that fsspec reads, or several as `{000..012}`.
        resolution: side in pixels that is wanted, where pictures lie there in several sizes.

    Raises:
        DataError: nothing is there, or it cannot be used.
    """
    if isinstance(source, str) and is_pattern(source):
        return ShardPlace(shards_of(source), source)
    path = Path(source).expanduser()
    tree: Tree
    if is_archive(path):
        tree = ArchiveTree(path)
        captioned = any(posixpath.basename(name) in CAPTION_FILES for name in tree.names)
        if looks_like_shard(tree.names) and not captioned:
            return ShardPlace([str(path)], str(source))
    else:
        tree = FolderTree(path)
        shards = [name for name in tree.names if name.lower().endswith(".tar")]
        if shards and not picture_names(tree):
            return ShardPlace([str(path / name) for name in shards], str(source))
    return TreePlace(tree, resolution)
