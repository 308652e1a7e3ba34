"""The server's own copies of bundles, so that what it draws with cannot change under its hands."""

from __future__ import annotations

import fcntl
import secrets
import shutil
from pathlib import Path

from t2i.bundle import find_bundle
from t2i.errors import BundleError, InvalidInput
from t2i.manifest import MANIFEST, check_manifest, read_manifest

__all__ = ["Copies"]

_MARK = "t2i-copy-"
_LOCK = ".lock"


class Copies:
    """Copies of bundles in a folder that is this server's alone while it runs.

    A worker that is started again loads the very version that the others draw with, whatever has
    become of the folder that it was read from.

    Args:
        folder: where to; made if it is not there. What an earlier server left in it is deleted.

    Raises:
        InvalidInput: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (folder / _LOCK).open("w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidInput(
                    "models-copy",
                    str(folder),
                    f"another server keeps its copies in {folder}",
                    "give a folder of this server's own",
                ) from None
            for old in folder.glob(f"{_MARK}*"):
                shutil.rmtree(old)
        except OSError as error:
            raise InvalidInput(
                "models-copy",
                str(folder),
                f"{folder} cannot be used ({error.strerror})",
                "give a folder of this server's own",
            ) from error

    def take(self, model: str) -> Path:
        """Copy a bundle and check every file of the copy; return its folder.

        Args:
            model: the bundle's name or folder.

        Raises:
            BundleError: there is no such bundle, it is damaged, or the copy cannot be written, as
                on a full disk. Nothing is left behind then.
        """
        source = find_bundle(model)
        files = read_manifest(source).names
        copy = self._folder / f"{_MARK}{secrets.token_hex(8)}"
        try:
            copy.mkdir(mode=0o700)
            for name in (*files, MANIFEST):
                shutil.copyfile(source / name, copy / name)
            check_manifest(copy)
        except OSError as error:
            self.drop(copy)
            # What is missing or damaged there is told first.
            check_manifest(source)
            raise BundleError(
                f"bundle {source}: it cannot be copied to {self._folder} ({error.strerror}); "
                "make room there"
            ) from error
        except BundleError as error:
            self.drop(copy)
            check_manifest(source)
            raise BundleError(
                f"bundle {source}: it changed while it was copied; try again"
            ) from error
        return copy

    def drop(self, copy: Path) -> None:
        """Delete a copy."""
        shutil.rmtree(copy, ignore_errors=True)

    def close(self) -> None:
        """Let another server have the folder."""
        self._lock.close()
