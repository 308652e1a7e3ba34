"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` to a file and return its path; the file appears complete or not at all.

    A file of that name is replaced. The folder must exist.

    Raises:
        OSError: if the file cannot be written; nothing is left behind then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
