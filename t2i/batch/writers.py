"""The files of a shard: a tar of WebDataset, a folder, or a Parquet file.

Each writer's block leaves all files of its shard under their names, or none of them (of a folder
in an object store perhaps some), and the same pictures always make the same bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from t2i.batch.formats import ShardFormat
from t2i.batch.storage import File, Storage, write

__all__ = ["Picture", "Place", "ShardWriter", "as_json", "open_shard", "read_picture", "shard_name"]

METADATA = "metadata.jsonl"
_BLOCK = tarfile.BLOCKSIZE
_SUFFIXES: Mapping[ShardFormat, str] = {"webdataset": ".tar", "folder": "", "parquet": ".parquet"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be written.

    Attributes:
        key: names its files: the row's number and which of its pictures it is.
        data: a PNG file.
        described: what there is to know about it.
    """

    key: str
    data: bytes
    described: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture is.

    Attributes:
        file: path below the job's folder.
        position: of a tar file the byte at which the PNG file begins, of a Parquet file its row;
            of a file of its own 0.
        bytes: size of the PNG file.
    """

    file: str
    position: int
    bytes: int


class ShardWriter(Protocol):
    """Takes the pictures of a shard in order."""

    def add(self, picture: Picture) -> Place:
        """Write a picture and return where it is.

        Raises:
            OSError: if it cannot be written.
        """


def open_shard(out: Storage, name: str, format: ShardFormat) -> AbstractContextManager[ShardWriter]:
    """Open the files of a shard for a `with` block."""
    path = shard_name(name, format)
    if format == "webdataset":
        return _tar_shard(out, path)
    if format == "folder":
        return _folder_shard(out, path)
    from t2i.batch.parquet import parquet_shard

    return parquet_shard(out, path)


def shard_name(name: str, format: ShardFormat) -> str:
    """Return the file or folder of a shard below a job's folder."""
    return f"shards/{name}{_SUFFIXES[format]}"


def read_picture(out: Storage, place: Place) -> bytes:
    """Return the PNG file at a place.

    Raises:
        OSError: if it is not there.
    """
    if place.file.endswith(".parquet"):
        from t2i.batch import parquet

        return parquet.read_picture(File(out, place.file), place.position)
    return out.read(place.file, place.position, place.position + place.bytes)


def as_json(described: Mapping[str, object]) -> bytes:
    """Return one line of JSON without its end."""
    # Half a character, which no UTF-8 can hold, becomes an escape of JSON.
    return json.dumps(described, ensure_ascii=False).encode("utf-8", "backslashreplace")


@contextmanager
def _tar_shard(out: Storage, name: str) -> Iterator[_Tar]:
    with write(out, name) as file:
        tar = _Tar(file, name)
        yield tar
        tar.end()


class _Tar:
    """Writes members one after the other; Python's own writer would remember each of them."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._at = 0

    def add(self, picture: Picture) -> Place:
        place = Place(self._name, self._member(f"{picture.key}.png", picture.data), 0)
        self._member(f"{picture.key}.txt", str(picture.described["caption"]).encode())
        self._member(f"{picture.key}.json", as_json(picture.described))
        return Place(place.file, place.position, len(picture.data))

    def end(self) -> None:
        end = 2 * _BLOCK
        self._file.write(bytes(end + -(self._at + end) % tarfile.RECORDSIZE))

    def _member(self, name: str, data: bytes) -> int:
        # Owner, group and time stay at zero, so that the same pictures make the same file.
        head = tarfile.TarInfo(name)
        head.size = len(data)
        written = head.tobuf(tarfile.USTAR_FORMAT)
        padding = bytes(-len(data) % _BLOCK)
        begin = self._at + len(written)
        self._file.write(written + data + padding)
        self._at = begin + len(data) + len(padding)
        return begin


@contextmanager
def _folder_shard(out: Storage, name: str) -> Iterator[_Folder]:
    with out.draft(name) as draft:
        draft.path.mkdir()
        folder = _Folder(draft.path, name)
        yield folder
        folder.end()
        draft.keep()


class _Folder:
    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._metadata = io.BytesIO()

    def add(self, picture: Picture) -> Place:
        file = f"{picture.key}.png"
        (self._folder / file).write_bytes(picture.data)
        line = {"file_name": file, "text": picture.described["caption"], **picture.described}
        self._metadata.write(as_json(line) + b"\n")
        return Place(f"{self._name}/{file}", 0, len(picture.data))

    def end(self) -> None:
        (self._folder / METADATA).write_bytes(self._metadata.getvalue())
