"""Files in a folder, a .tar (also packed) or a .zip, read alike and without unpacking."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from training.data.errors import DataError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


class Files:
    """The files at a path, whatever holds them.

    Attributes:
        path: of the folder or archive.
        names: the files in it, relative, with `/`.
    """

    def __init__(self, path: Path, tops: Collection[str] | None = None) -> None:
        """List the files; nothing is read yet.

        Args:
            path: a folder or an archive.
            tops: of a folder, look only into these folders directly below, and at the files
                beside them; None looks everywhere.

        Raises:
            DataError: the path is neither a folder nor an archive, or cannot be read.
        """
        self.path = path
        try:
            if path.is_dir():
                self.names = tuple(sorted(_walk(path, tops)))
            elif not path.exists():
                raise DataError(f"{path}: does not exist; give a folder or an archive")
            elif _is_zip(path):
                with zipfile.ZipFile(path) as packed:
                    self.names = tuple(name for name in packed.namelist() if name[-1:] != "/")
            else:
                with tarfile.open(path) as archive:
                    self.names = tuple(one.name for one in archive if one.isfile())
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            if "unexpected end" in str(error) or isinstance(error, EOFError):
                raise DataError(f"{path}: is cut off ({error}); fetch it again") from error
            raise DataError(
                f"{path}: cannot be read ({error}); give a folder, or an archive that ends in "
                f"{', '.join(ARCHIVE_SUFFIXES)}"
            ) from error

    def read(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each of the named files with its contents, in the order of the archive.

        Raises:
            DataError: a file cannot be read.
        """
        wanted = set(names)
        try:
            if self.path.is_dir():
                for name in names:
                    yield name, (self.path / name).read_bytes()
            elif _is_zip(self.path):
                with zipfile.ZipFile(self.path) as packed:
                    for name in names:
                        yield name, packed.read(name)
            else:
                with tarfile.open(self.path) as archive:
                    for one in archive:
                        if one.name in wanted and (file := archive.extractfile(one)) is not None:
                            yield one.name, file.read()
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self.path}: is damaged ({error}); fetch it again") from error

    def stamp(self, names: Collection[str]) -> list[object]:
        """Return what changes when one of the files is changed: sizes and times."""
        paths = [self.path / name for name in names] if self.path.is_dir() else [self.path]
        rows: list[object] = [str(self.path.resolve()), *names]
        for path in paths:
            status = path.stat()
            rows.append([status.st_size, status.st_mtime_ns, status.st_ino])
        return rows


def is_archive(path: Path) -> bool:
    """Tell by the name whether a file is an archive that can be read."""
    return path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES)


def archive_name(path: Path) -> str:
    """Return the name of an archive without its suffix."""
    name = path.name
    ends = [suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)]
    return name[: -max(map(len, ends))] if ends else name


def _is_zip(path: Path) -> bool:
    return path.name.lower().endswith(".zip")


def _walk(folder: Path, tops: Collection[str] | None) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here == folder and tops is not None:
            folders[:] = [name for name in folders if name in tops]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                yield (here / name).relative_to(folder).as_posix()
