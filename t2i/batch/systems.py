"""The file systems behind addresses, and what each kind of them is particular about.

fsspec gives all of them the same methods. What it leaves to each is told here: whether a file is
whole when it is seen, whether several threads may call at once, what is left of an upload that was
killed, and which errors are raised.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from t2i.batch.errors import BatchError
from t2i.errors import InvalidInput, T2IError, shown
from t2i.extras import ExtraMissing, needs_extra

__all__ = [
    "Reading",
    "abandon_uploads",
    "create_file",
    "find_system",
    "renames",
    "replaces",
    "telling",
]

# Their other side has folders, shows a file while it is being written, and renames it.
_RENAMES = frozenset({"arrow_hdfs", "dbfs", "hdfs", "sftp", "smb", "ssh", "webdav", "webhdfs"})
# Of these, a new name takes the place of a file that has it.
_REPLACES = frozenset({"sftp", "ssh"})
_KEEP_ALIVE_SECONDS = 30
# What errors that come with words alone mean in numbers.
_NUMBERS: dict[type[OSError], int] = {
    PermissionError: errno.EACCES,
    FileExistsError: errno.EEXIST,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    TimeoutError: errno.ETIMEDOUT,
}


def find_system(address: str) -> tuple[Callable[[], Any], str]:
    """Return what gives the file system of an address, and the address in that one's own words.

    Whoever uses the file system asks for it in the thread in which it is used, each time.

    Raises:
        InvalidInput: if no program here knows such addresses.
        ExtraMissing: if fsspec, or what it needs for them, is not installed.
        OSError: if the other side refuses.
    """
    with needs_extra("remote", or_else="give a path of this machine"):
        import fsspec
    try:
        system, path = fsspec.core.url_to_fs(address)
        systems = _systems(system)
        systems()
    except ImportError as error:
        raise ExtraMissing(f"{address}: {' '.join(str(error).split())}, with pip") from error
    except ValueError as error:
        scheme = address.partition(":")[0]
        raise InvalidInput(
            "address", address, f"{shown(scheme)} is no kind of address that fsspec knows",
            "give one such as s3://bucket/folder, or a path",
        ) from error  # fmt: skip
    except Exception as error:
        # Some connect at once, and may be refused in words of their own.
        raise _placed(error, address) from error
    return systems, str(path)


def renames(system: Any) -> bool:
    """Return whether files are seen while they are written, so that they need a rename."""
    return not _RENAMES.isdisjoint(_kinds(system))


def replaces(system: Any) -> bool:
    """Return whether a rename puts a file in the place of one that is there."""
    return not _REPLACES.isdisjoint(_kinds(system))


def create_file(system: Any, path: str, data: bytes) -> None:
    """Make a file if there is none of its name, where the other side can decide that.

    Raises:
        FileExistsError: if there is one, and the other side has a word for that.
        OSError: if it cannot be made, perhaps for that reason.
    """
    try:
        if not renames(system):
            system.pipe_file(path, data, mode="create")
            return
        # paramiko's files are read only unless told otherwise.
        with system.open(path, "wxb" if _is_paramiko(system) else "xb") as file:
            file.write(data)
    except (NotImplementedError, TypeError, ValueError):
        # Its program knows of no such condition.
        system.pipe_file(path, data)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        # The store does not.
        system.pipe_file(path, data)


def abandon_uploads(system: Any, root: str, names: Collection[str]) -> None:
    """Give up what was being uploaded in parts when its process was killed.

    Only S3 keeps, and charges for, the parts of an upload that was never completed.

    Args:
        system: the file system.
        root: a folder in its own words.
        names: files below the root, and folders with all that is below them.
    """
    if not hasattr(system, "list_multipart_uploads"):
        return
    bucket, _, folder = root.partition("/")
    prefix = f"{folder}/" if folder else ""
    # Who may not list them, or whose store cannot, leaves them to the rules of the bucket.
    with suppress(OSError, NotImplementedError):
        for key, upload in list(_uploads(system, bucket, prefix)):
            name = key.removeprefix(prefix)
            if any(name == each or name.startswith(f"{each}/") for each in names):
                system.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)


@contextmanager
def telling(place: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what fsspec's many programs raise into errors with one line and a place.

    Args:
        place: what the block is about.
        writing: whether it makes a file; what is not there then is where it is made.

    Raises:
        OSError: with a number, words and a place.
        BatchError: if files cannot be made there at all.
    """
    try:
        yield
    except FileNotFoundError as error:
        if writing:
            said = f"There is no place for it ({_said(error)})"
        else:
            # Its words are a path at most, and not always that.
            said = "No such file or directory"
        raise FileNotFoundError(errno.ENOENT, said, place) from error
    except T2IError:
        raise
    except NotImplementedError as error:
        raise BatchError(
            f"{place}: such addresses cannot be written to; give another --out"
        ) from error
    except Exception as error:
        raise _placed(error, place) from error


class Reading(io.RawIOBase):
    """A file of fsspec's as Python's own are: some of fsspec's can do no more than read.

    Args:
        file: fsspec's; closed with this one.
        place: where it is, for what is raised.
    """

    def __init__(self, file: Any, place: str) -> None:
        self._file = file
        self._place = place

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether it can be read from any place on."""
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on; return how far, which is 0 at the end."""
        with telling(self._place):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on from elsewhere; return from where."""
        with telling(self._place):
            self._file.seek(offset, whence)
            return int(self._file.tell())

    def tell(self) -> int:
        """Return from where the next bytes come."""
        return int(self._file.tell())

    def close(self) -> None:
        """Close both."""
        if not self.closed:
            super().close()
            with telling(self._place):
                self._file.close()


def _kinds(system: Any) -> tuple[str, ...]:
    told = system.protocol
    return (told,) if isinstance(told, str) else tuple(told)


def _systems(system: Any) -> Callable[[], Any]:
    """Return what gives a file system to the thread that asks."""
    if _is_paramiko(system):
        # Its client gives one thread the other's answers: each gets its own, which
        # fsspec remembers for it.
        return partial(_own, type(system), tuple(system.storage_args), dict(system.storage_options))
    return lambda: system


def _is_paramiko(system: Any) -> bool:
    return not system.async_impl and "sftp" in _kinds(system)


def _own(kind: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    system = kind(*args, **options)
    transport = system.client.get_transport()
    if transport is None or not transport.is_active():
        # The other side was started again, or hung up on who was silent for long.
        system._connect()
        transport = system.client.get_transport()
    transport.set_keepalive(_KEEP_ALIVE_SECONDS)
    return system


def _uploads(system: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
    more: dict[str, str] = {}
    while True:
        page = system.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **more)
        for upload in page.get("Uploads", ()):
            yield upload["Key"], upload["UploadId"]
        if not page.get("IsTruncated"):
            return
        more = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page["NextUploadIdMarker"],
        }


def _placed(error: Exception, place: str) -> OSError:
    if not isinstance(error, OSError):
        return OSError(errno.EIO, _said(error), place)
    if error.filename is not None and error.errno is not None:
        return error
    number = next((number for kind, number in _NUMBERS.items() if isinstance(error, kind)), 0)
    return OSError(error.errno or number or errno.EIO, error.strerror or _said(error), place)


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
