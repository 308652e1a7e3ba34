"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["sync_folder", "temporary_name", "write_atomically"]


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` to a file and return its path; the file appears complete or not at all.

    A file of that name is replaced. The folder must exist.

    Raises:
        OSError: if the file cannot be written; nothing is left behind then.
    """
    path = Path(path)
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries onto the disk: which names it holds, not what is in the files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """Return a name beside a path for what is not complete yet: hidden, new, ending in `.tmp`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
