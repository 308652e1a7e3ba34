"""What a figure was made with: the commit of the source tree, and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

__all__ = ["commit", "machine"]


def commit() -> str | None:
    """Return the commit of the source tree, marked when files differ; None in no source tree."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        said = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None


def machine() -> str:
    """Return the kind of processor and the number of cores."""
    return f"{platform.machine()}, {os.cpu_count()} cores"
