"""A folder of this machine that keeps the files of a job."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from t2i.batch.errors import FolderBusy
from t2i.batch.storage import Draft
from t2i.files import sync_folder, temporary_name

__all__ = ["LocalStorage", "busy", "who_am_i"]

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A folder of this machine; see `Storage`.

    What is kept is on the disk: a machine that loses its power has it afterwards.

    Args:
        path: the folder; it is made when something is written or locked in it.
    """

    path: Path

    def place(self, name: str = "") -> Path:
        """See `Storage`."""
        return self.path / name

    def names(self, folder: str = "") -> frozenset[str]:
        """See `Storage`."""
        try:
            return frozenset(path.name for path in (self.path / folder).iterdir())
        except FileNotFoundError:
            return frozenset()

    def open(self, name: str) -> BinaryIO:
        """See `Storage`."""
        return (self.path / name).open("rb", buffering=_BUFFER_BYTES)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """See `Storage`."""
        with (self.path / name).open("rb") as file:
            first, last, _ = slice(start, end).indices(file.seek(0, os.SEEK_END))
            file.seek(first)
            return file.read(max(0, last - first))

    def stamp(self, name: str) -> object:
        """See `Storage`."""
        found = (self.path / name).stat()
        return found.st_size, found.st_mtime_ns

    @contextmanager
    def draft(self, name: str) -> Iterator[Draft]:
        """See `Storage`; a draft lies beside its place, under a hidden name."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            yield Draft(temporary, partial(_keep, temporary, path))
        finally:
            _remove(temporary)

    def remove(self, name: str) -> None:
        """See `Storage`."""
        _remove(self.path / name)

    def abandon(self, names: Collection[str]) -> None:
        """See `Storage`; here a draft has a name too, by which it is removed."""

    @contextmanager
    def locked(self, name: str) -> Iterator[Callable[[], None]]:
        """See `Storage`.

        The lock is the operating system's and ends with the process, however that ends, so there
        is none of a dead one to be cleared away.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
                raise busy(self.path, who) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{who_am_i()}\n".encode(), 0)
            yield _never_lost
        finally:
            os.close(descriptor)


def busy(where: Path | str, who: str) -> FolderBusy:
    """Return the error of a folder that somebody else is at work in."""
    return FolderBusy(
        f"{where}: another run is at work here ({who or 'of an unknown process'}); wait for it, "
        "stop it, or give another --out"
    )


def who_am_i() -> str:
    """Return this process as a lock tells of it."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def _never_lost() -> None:
    """Do nothing: who has the operating system's lock keeps it."""


def _keep(temporary: Path, path: Path) -> None:
    if temporary.is_dir():
        # All at the end: the first call brings most of what follows to the disk as well.
        for file in sorted(temporary.iterdir()):
            _sync(file)
        sync_folder(temporary)
        # What bears the name now is of a run that was killed before it took note of it.
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    else:
        _sync(temporary)
        temporary.replace(path)
    sync_folder(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
