"""A folder for temporary files that goes with its process, however that ends.

A process that is killed removes nothing. Whoever makes the next such folder on the machine removes
those whose process is gone: each holds a file that its process keeps locked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["Scratch"]

_LOCK = "lock"


class Scratch:
    """A new folder that only this user can read.

    Args:
        kind: what its name begins with, the same for all folders of one purpose.
        parent: where it is made; None for where this machine keeps temporary files.

    Attributes:
        path: the folder.
    """

    def __init__(self, kind: str, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        for left in parent.glob(f"{kind}*"):
            with suppress(OSError):
                _remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=kind, dir=parent))
        # Locked before it has its name: nobody finds a lock that is not held by a living process.
        new = self.path / ".new"
        self._descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        new.rename(self.path / _LOCK)

    def close(self) -> None:
        """Remove the folder; it may be gone already."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _remove_if_left(folder: Path) -> None:
    # A folder of a name like ours that somebody else made is not ours to remove.
    if folder.lstat().st_uid != os.getuid():
        return
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
