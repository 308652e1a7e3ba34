"""Anything that fsspec has addresses for, as what keeps the files of a job.

An object store shows an object when it is complete: drafts are uploaded under their names. Where
the other side is a file system (`_RENAMES`) they are uploaded under another name, then renamed. A
shard that is a folder appears file by file in either case; that it is complete is told by its
record, as of every shard.
"""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from t2i.batch.errors import BatchError
from t2i.batch.lease import lease
from t2i.batch.storage import Draft, File
from t2i.errors import InvalidInput, T2IError, shown
from t2i.extras import ExtraMissing, needs_extra
from t2i.files import temporary_name

__all__ = ["RemoteStorage", "remote_file"]

# Protocols whose other side has folders, shows a file while it is being written, and renames it.
_RENAMES = frozenset({"arrow_hdfs", "dbfs", "hdfs", "sftp", "smb", "ssh", "webdav", "webhdfs"})
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteStorage:
    """A folder at an address of fsspec; see `Storage`.

    Args:
        system: the file system of fsspec.
        root: the folder in its own words.
        address: the folder in the words of whoever named it.
    """

    system: Any
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
        system, root = _resolved(address)
        return cls(system, root.rstrip("/"), address.rstrip("/"))

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
            except FileNotFoundError:
                return frozenset()
            if [each.rstrip("/") for each in found] == [path] and self.system.isfile(path):
                raise NotADirectoryError(errno.ENOTDIR, "Not a folder", self.place(folder))
        # Some stores list a folder as an object of its own.
        return frozenset(each.rstrip("/").rpartition("/")[2] for each in found if each != path)

    def open(self, name: str) -> BinaryIO:
        """See `Storage`."""
        with self._telling(name):
            # Not every file of fsspec's reads lines of a length that is told.
            return io.BufferedReader(self.system.open(self._path(name), "rb"), _BUFFER_BYTES)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """See `Storage`."""
        with self._telling(name):
            return bytes(self.system.cat_file(self._path(name), start=start, end=end))

    def stamp(self, name: str) -> object:
        """See `Storage`."""
        with self._telling(name):
            self.system.invalidate_cache()
            return self.system.ukey(self._path(name))

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
        with self._telling(name):
            self.system.invalidate_cache()
            # Where exclusive creation is not known, it is silently none.
            if self.system.exists(self._path(name)):
                return False
            self._make_parent(name)
            try:
                self.system.pipe_file(self._path(name), data, mode="create")
            except FileExistsError:
                return False
            return True

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file in place of what bears its name."""
        with self._telling(name):
            self.system.pipe_file(self._path(name), data)

    def _keep(self, path: Path, name: str) -> None:
        with self._telling(name):
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
            # Not every protocol renames onto what is there.
            if self.system.exists(target):
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
        protocol = self.system.protocol
        return not _RENAMES.isdisjoint((protocol,) if isinstance(protocol, str) else protocol)

    def _make_parent(self, name: str) -> None:
        """Make the folder of a name, where there are folders; object stores have none."""
        if self._renames:
            self.system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Turn what fsspec's many programs raise into errors with one line and a place."""
        try:
            yield
        except FileNotFoundError as error:
            # Its words are a path at most, and not always that.
            missing = "No such file or directory"
            raise FileNotFoundError(errno.ENOENT, missing, self.place(name)) from error
        except (OSError, T2IError):
            raise
        except NotImplementedError as error:
            raise BatchError(
                f"{self.place(name)}: such addresses cannot be written to; give another --out"
            ) from error
        except Exception as error:
            raise OSError(errno.EIO, _said(error), self.place(name)) from error


def remote_file(address: str) -> File:
    """Return the file at an address of fsspec.

    Raises:
        InvalidInput: if no program here knows such addresses.
        ExtraMissing: if fsspec, or what it needs for them, is not installed.
    """
    system, path = _resolved(address)
    root, _, name = path.rstrip("/").rpartition("/")
    # Of a chain the names of the whole and of its folder are not each other's beginning.
    told = address.partition("::")[0].rpartition("/")[0]
    return File(RemoteStorage(system, root, told), name)


def _resolved(address: str) -> tuple[Any, str]:
    with needs_extra("remote", or_else="give a path of this machine"):
        import fsspec
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ExtraMissing(f"{address}: {' '.join(str(error).split())}, with pip") from error
    except ValueError as error:
        scheme = address.partition(":")[0]
        raise InvalidInput(
            "address", address, f"{shown(scheme)} is no kind of address that fsspec knows",
            "give one such as s3://bucket/folder, or a path",
        ) from error  # fmt: skip
    except OSError:
        raise
    except Exception as error:
        # Some connect at once, and may be refused in words of their own.
        raise OSError(errno.EIO, _said(error), address) from error
    return system, str(path)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
