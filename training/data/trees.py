"""The files of a folder or of an archive, seen alike: a layout reads either without unpacking."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Protocol

from training.data.archives import Files, archive_name
from training.data.errors import DataError

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"}
)

Load = Callable[[], bytes]


class Tree(Protocol):
    """Files by name.

    Attributes:
        path: of the folder or archive.
        name: what to call it.
        names: relative, with `/`, sorted; hidden files are left out.
    """

    path: Path
    name: str
    names: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Tell whether there is such a file, hidden ones too."""
        ...

    def contents(self, names: Collection[str]) -> Iterator[tuple[str, Load]]:
        """Yield each of the named files with what reads it, in the order that reads fastest.

        What reads it may be called from a thread, and raises OSError if the file cannot be read.

        Raises:
            DataError: the archive is damaged.
        """
        ...

    def stamp(self, names: Collection[str]) -> list[list[object]]:
        """Return for each file, in order, what changes when it is changed; nothing if it is gone.

        Of an archive, that of the whole.
        """
        ...


class FolderTree:
    """The files of a folder; links are followed, each folder once."""

    def __init__(self, path: Path) -> None:
        """List the files.

        Raises:
            DataError: there is no such folder.
        """
        if not path.is_dir():
            problem = "is not a folder" if path.exists() else "does not exist"
            raise DataError(f"{path}: {problem}; give a folder with pictures and captions")
        self.path = path
        self.name = path.resolve().name
        self.names = tuple(sorted(_walk(path)))

    def has(self, name: str) -> bool:
        """Tell whether there is such a file, hidden ones too."""
        return (self.path / name).is_file()

    def contents(self, names: Collection[str]) -> Iterator[tuple[str, Load]]:
        """Yield each of the named files with what reads it, in the order given."""
        for name in names:
            yield name, (self.path / name).read_bytes

    def stamp(self, names: Collection[str]) -> list[list[object]]:
        """Return size, time and number of each file; nothing for a dangling link."""
        rows: list[list[object]] = []
        for name in names:
            try:
                status = (self.path / name).stat()
            except OSError:
                rows.append([])
                continue
            rows.append([status.st_size, status.st_mtime_ns, status.st_ino])
        return rows


class ArchiveTree:
    """The files of a .tar (also packed) or a .zip; a single folder on top is looked through."""

    def __init__(self, path: Path) -> None:
        """List the files.

        Raises:
            DataError: the archive cannot be read.
        """
        self.path = path
        self.name = archive_name(path)
        self._files = Files(path)
        inner = {posixpath.normpath(name): name for name in self._files.names}
        tops = {name.partition("/")[0] for name in inner if not _hidden(name.partition("/")[0])}
        top = f"{tops.pop()}/" if len(tops) == 1 and not tops & set(inner) else ""
        self._raw = {name[len(top) :]: raw for name, raw in inner.items() if name.startswith(top)}
        seen = (name for name in self._raw if not any(map(_hidden, name.split("/"))))
        self.names = tuple(sorted(seen))

    def has(self, name: str) -> bool:
        """Tell whether there is such a file, hidden ones too."""
        return name in self._raw

    def contents(self, names: Collection[str]) -> Iterator[tuple[str, Load]]:
        """Yield each of the named files with its contents, in the order of the archive."""
        wanted = {self._raw[name]: name for name in names}
        for raw, content in self._files.read(wanted):
            yield wanted[raw], lambda content=content: content  # type: ignore[misc]

    def stamp(self, names: Collection[str]) -> list[list[object]]:
        """Return size, time and number of the archive, once for all files."""
        status = self.path.stat()
        return [[status.st_size, status.st_mtime_ns, status.st_ino]] * len(names)


def picture_names(tree: Tree) -> list[str]:
    """Return the files whose names end as those of pictures do."""
    return [file for file in tree.names if posixpath.splitext(file)[1].lower() in PICTURE_SUFFIXES]


def read_file(tree: Tree, name: str) -> bytes:
    """Read one file that must be there.

    Raises:
        DataError: it cannot be read.
    """
    ((_, load),) = tree.contents([name])
    try:
        return load()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); check its rights") from error


def read_text(tree: Tree, name: str) -> str:
    """Read one text file that must be there.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_file(tree, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{tree.path}: {name}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from error


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
