"""Two kinds of far storage by fsspec, on this disk, so that a killed process leaves them behind.

* `bucket:///folder`: an object store. An object is there when it is complete, or not at all, and
  can be created for one caller alone.
* `drive:///folder`: a file system such as that of WebDAV. A file is seen while it is being written.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from t2i.batch.storage import storage_of

BLOCK = 512


class Bucket(LocalFileSystem):
    protocol = "bucket"

    def put_file(self, lpath: str, rpath: str, **others: Any) -> None:
        upload = self._upload(rpath)
        shutil.copyfile(lpath, upload)
        upload.replace(self._strip_protocol(rpath))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **others: Any) -> None:
        upload = self._upload(path)
        upload.write_bytes(value)
        if mode == "create":
            try:
                os.link(upload, self._strip_protocol(path))
            finally:
                upload.unlink()
        else:
            upload.replace(self._strip_protocol(path))

    def _upload(self, path: str) -> Path:
        """A name that nobody lists; there are no folders to be made first."""
        target = Path(self._strip_protocol(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        uploads = Path("/".join(target.parts[:3])[1:], ".uploads")
        uploads.mkdir(exist_ok=True)
        return uploads / secrets.token_hex(8)


class Drive(LocalFileSystem):
    # What is known of WebDAV is what is known of this one.
    protocol = ("drive", "webdav")

    def put_file(self, lpath: str, rpath: str, **others: Any) -> None:
        data = Path(lpath).read_bytes()
        with Path(self._strip_protocol(rpath)).open("wb") as file:
            for start in range(0, len(data), BLOCK):
                file.write(data[start : start + BLOCK])
                file.flush()
                time.sleep(0.0002)

    def mv(self, path1: str, path2: str, **others: Any) -> None:
        old, new = (Path(self._strip_protocol(path)) for path in (path1, path2))
        if new.exists():
            raise FileExistsError(str(new))
        old.rename(new)


def register() -> None:
    """Make both known to fsspec in this process."""
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    fsspec.register_implementation("drive", Drive, clobber=True)


def stored(address: str) -> dict[str, bytes]:
    """Every file at an address but the lock, with its bytes."""
    storage = storage_of(address)
    system, root = fsspec.core.url_to_fs(address)
    found = [path.removeprefix(root).lstrip("/") for path in system.find(root)]
    return {name: storage.read(name) for name in sorted(found) if name != ".lock"}
