"""Where the files of a job are kept: a folder of this machine, or an address of anything else.

A storage knows names below one root, such as `shards/000000.tar`. Whatever is to bear a name is
first made ready on this machine, as a *draft*, and then kept under its name in one step: nobody
ever finds half of it. What that step is, and what a lock is, differs between the two kinds:

* `local.py`: a rename on the same disk, after it was brought onto it; the operating system's lock.
* `remote.py`: an upload by fsspec; a lock that is renewed for as long as its holder lives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

__all__ = ["Draft", "File", "Storage", "file_of", "is_address", "storage_of", "write"]

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to bear a name, while nobody else can see it.

    Attributes:
        path: a file or folder of this machine that is not there yet.
        keep: gives what was written there its name, in place of whatever has it now.
    """

    path: Path
    keep: Callable[[], None]


class Storage(Protocol):
    """Keeps files by their names; a name is a path below its root, with `/` between its parts.

    What is not there raises `FileNotFoundError`, whatever else goes wrong another `OSError`.
    """

    def place(self, name: str = "") -> Path | str:
        """Return where a name is, or the root: a path of this machine, or an address."""

    def names(self, folder: str = "") -> frozenset[str]:
        """Return what lies directly in a folder; nothing where there is none."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of a file from start to end; they are counted as in a slice."""

    def stamp(self, name: str) -> object:
        """Return what is another value when a file has been changed."""

    def draft(self, name: str) -> AbstractContextManager[Draft]:
        """Give a draft, of which nothing is left after the block unless it was kept."""

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; it need not be there."""

    def abandon(self, names: Collection[str]) -> None:
        """Give up what was on its way to some names when its process was killed.

        Only while nobody draws. A name of a folder stands for all that is in it.
        """

    def locked(self, name: str) -> AbstractContextManager[Callable[[], None]]:
        """Keep everybody else out who locks the same name, while the block runs.

        It gives a function that raises `FolderBusy` if the lock was lost meanwhile.

        Raises:
            FolderBusy: if somebody else holds it.
        """


@dataclass(frozen=True, slots=True)
class File:
    """A file that can be read more than once.

    Attributes:
        storage: where it is kept.
        name: its name there.
    """

    storage: Storage
    name: str

    def __str__(self) -> str:
        return str(self.storage.place(self.name))

    def open(self) -> BinaryIO:
        """Open it for reading."""
        return self.storage.open(self.name)

    def stamp(self) -> object:
        """Return what is another value when it has been changed."""
        return self.storage.stamp(self.name)


def is_address(text: str) -> bool:
    """Return whether a text is an address, such as `s3://bucket/birds`, and not a path."""
    return "://" in text or "::" in text


def storage_of(where: Path | str) -> Storage:
    """Return the storage at a path of this machine or at an address of fsspec.

    Raises:
        InvalidInput: if no program here knows such addresses.
        ExtraMissing: if fsspec is not installed.
    """
    path = _local(where)
    if path is None:
        from t2i.batch.remote import RemoteStorage

        return RemoteStorage.at(str(where))
    from t2i.batch.local import LocalStorage

    return LocalStorage(path)


def file_of(where: Path | str) -> File:
    """Return the file at a path of this machine or at an address of fsspec.

    Raises:
        InvalidInput: if no program here knows such addresses.
        ExtraMissing: if fsspec is not installed.
    """
    path = _local(where)
    if path is None:
        from t2i.batch.remote import remote_file

        return remote_file(str(where))
    from t2i.batch.local import LocalStorage

    return File(LocalStorage(path.parent), path.name)


@contextmanager
def write(storage: Storage, name: str) -> Iterator[BinaryIO]:
    """Open a file to be written piece by piece; it is there when the block ends without an error.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    with storage.draft(name) as draft:
        with draft.path.open("xb", buffering=_BUFFER_BYTES) as file:
            yield file
        draft.keep()


def suffix_of(where: Path | str) -> str:
    """Return the suffix of a path or an address in small letters, with its dot."""
    # Of a chain such as zip://rows.csv::s3://bucket/rows.zip the first is what is read.
    return PurePosixPath(str(where).partition("::")[0]).suffix.lower()


def _local(where: Path | str) -> Path | None:
    if isinstance(where, Path):
        return where
    for scheme in ("file://", "local://"):
        if where.startswith(scheme) and "::" not in where:
            return Path(where.removeprefix(scheme))
    return None if is_address(where) else Path(where)
