"""Anything that fsspec has addresses for, as what keeps the files of a job.

An object store shows an object when it is complete: drafts are uploaded under their names. Where
the other side is a file system they are uploaded under another name, then renamed. A shard that is
a folder appears file by file in either case; that it is complete is told by its record, as of
every shard.
"""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from t2i.batch.lease import lease
from t2i.batch.storage import Draft, File
from t2i.batch.systems import (
    Reading,
    abandon_uploads,
    create_file,
    find_system,
    renames,
    replaces,
    telling,
)
from t2i.errors import InvalidInput
from t2i.files import temporary_name

__all__ = ["RemoteStorage", "remote_file"]

_BUFFER_BYTES = 1 << 20
# What is fetched at once: few journeys, little memory, and few bytes that nobody wanted.
_FETCH_BYTES = 8 << 20
# Folders that several make at the same time: a job's, and one in it.
_TRIES = 3
# What reading a file may change of what is told about it.
_READ_TIMES = frozenset({"accessTime", "atime", "last_access_time", "time"})


@dataclass(frozen=True, slots=True)
class RemoteStorage:
    """A folder at an address of fsspec; see `Storage`.

    Args:
        systems: gives the file system of fsspec that the calling thread is to use.
        root: the folder in its own words.
        address: the folder in the words of whoever named it.
    """

    systems: Callable[[], Any]
    root: str
    address: str

    @classmethod
    def at(cls, address: str) -> RemoteStorage:
        """Return the storage at an address.

        Raises:
            InvalidInput: if no program here knows such addresses, or they cannot be written to.
            ExtraMissing: if fsspec, or what it needs for them, is not installed.
        """
        if address.startswith("ftp://"):
            raise InvalidInput(
                "address",
                address,
                "fsspec asks FTP one thing at a time, and a job does several at once",
                "give an address of another kind, such as sftp://",
            )
        systems, root = find_system(address)
        return cls(systems, root.rstrip("/"), address.rstrip("/"))

    @property
    def system(self) -> Any:
        """The file system of fsspec, for this thread and now."""
        return self.systems()

    def place(self, name: str = "") -> str:
        """See `Storage`."""
        return f"{self.address}/{name}" if name else self.address

    def names(self, folder: str = "") -> frozenset[str]:
        """See `Storage`."""
        path = self._path(folder)
        with self._telling(folder):
            # Another run, or another machine, may have written since it was last listed.
            self.system.invalidate_cache()
            try:
                found = self.system.ls(path, detail=False)
            except OSError as error:
                # Some list a file as itself; others refuse, or say that there is no such folder.
                if self._renames and self.system.isfile(path):
                    found = [path]
                elif isinstance(error, FileNotFoundError):
                    return frozenset()
                else:
                    raise
            if [each.rstrip("/") for each in found] == [path] and self.system.isfile(path):
                raise NotADirectoryError(errno.ENOTDIR, "Not a folder", self.place(folder))
        # Some stores list a folder as an object of its own.
        return frozenset(each.rstrip("/").rpartition("/")[2] for each in found if each != path)

    def open(self, name: str) -> BinaryIO:
        """See `Storage`."""
        with self._telling(name):
            file = self.system.open(self._path(name), "rb", block_size=_FETCH_BYTES)
        return io.BufferedReader(Reading(file, self.place(name)), _BUFFER_BYTES)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """See `Storage`."""
        if not self._renames:
            with self._telling(name):
                return bytes(self.system.cat_file(self._path(name), start=start, end=end))
        # Not every file system of this kind gives a part when it is asked for all in one go.
        with self.open(name) as file:
            first, last, _ = slice(start, end).indices(file.seek(0, io.SEEK_END))
            file.seek(first)
            return file.read(max(0, last - first))

    def stamp(self, name: str) -> object:
        """See `Storage`."""
        with self._telling(name):
            self.system.invalidate_cache()
            if not self._renames:
                return self.system.ukey(self._path(name))
            told = self.system.info(self._path(name))
            return {what: value for what, value in told.items() if what not in _READ_TIMES}

    @contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        """See `Storage`; a draft lies among the temporary files of this machine."""
        with tempfile.TemporaryDirectory(prefix=self._drafts) as folder:
            path = Path(folder, name.rpartition("/")[2])
            yield Draft(path, partial(self._keep, path, name))

    def remove(self, name: str) -> None:
        """See `Storage`."""
        path = self._path(name)
        with self._telling(name):
            self.system.invalidate_cache()
            if self.system.exists(path):
                self.system.rm(path, recursive=True)

    @contextmanager
    def locked(self, name: str) -> Iterator[Callable[[], None]]:
        """See `Storage`, and `t2i.batch.lease` for what it can promise."""
        with lease(self, name) as check:
            # Drafts of this machine for this address are now of runs that were killed.
            for left in Path(tempfile.gettempdir()).glob(f"{self._drafts}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield check

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file if there is none of its name; return whether there was none.

        Stores that can decide this for two callers at the same moment do.
        """
        path = self._path(name)
        with self._telling(name, writing=True):
            if self._exists(path):
                return False
            self._make_parent(name)
            try:
                create_file(self.system, path, data)
            except FileExistsError:
                return False
            except OSError:
                # Who was not the first is told so in words of all kinds.
                if not self._exists(path):
                    raise
                return False
            return True

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file in place of what bears its name."""
        with self._telling(name, writing=True):
            self.system.pipe_file(self._path(name), data)

    def abandon(self, names: Collection[str]) -> None:
        """See `Storage`."""
        with self._telling(""):
            abandon_uploads(self.system, self.root, names)

    def _keep(self, path: Path, name: str) -> None:
        with self._telling(name, writing=True):
            self._make_parent(name)
            target = self._path(name)
            if not path.is_dir():
                self._put(path, target)
                return
            # What bears the name now is of a run that was killed before it took note of it.
            self.remove(name)
            self._make_parent(f"{name}/")
            files = sorted(path.iterdir())
            self.system.put([str(file) for file in files], [f"{target}/{f.name}" for f in files])

    def _put(self, path: Path, target: str) -> None:
        if not self._renames:
            self.system.put_file(str(path), target)
            return
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/{temporary_name(Path(name)).name}"
        try:
            self.system.put_file(str(path), temporary)
            if not replaces(self.system) and self.system.exists(target):
                self.system.rm_file(target)
            self.system.mv(temporary, target)
        except BaseException:
            # What broke the upload may keep us from tidying up; the next run does it then.
            with suppress(Exception):
                self.system.rm_file(temporary)
            raise

    @property
    def _drafts(self) -> str:
        """What the names of this address's drafts on this machine begin with."""
        return f"t2i-batch-{hashlib.sha256(self.address.encode()).hexdigest()[:12]}-"

    @property
    def _renames(self) -> bool:
        return renames(self.system)

    def _exists(self, path: str) -> bool:
        self.system.invalidate_cache()
        return bool(self.system.exists(path))

    def _make_parent(self, name: str) -> None:
        """Make the folder of a name, where there are folders; object stores have none."""
        if not self._renames:
            return
        for left in reversed(range(_TRIES)):
            try:
                self.system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
                return
            except OSError:
                # Another thread or machine may have made it since it was looked for.
                if not left:
                    raise

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root or "/"

    def _telling(self, name: str, *, writing: bool = False) -> AbstractContextManager[None]:
        return telling(self.place(name), writing=writing)


def remote_file(address: str) -> File:
    """Return the file at an address of fsspec.

    Raises:
        InvalidInput: if no program here knows such addresses.
        ExtraMissing: if fsspec, or what it needs for them, is not installed.
    """
    systems, path = find_system(address)
    root, _, name = path.rstrip("/").rpartition("/")
    # Of a chain the names of the whole and of its folder are not each other's beginning.
    told = address.partition("::")[0].rpartition("/")[0]
    return File(RemoteStorage(systems, root, told), name)
