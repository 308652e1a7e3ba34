"""Keeps freed memory for the next forward pass, where the C library gives it back at once.

A network allocates and frees the same buffers of some MB in every pass. Unless told otherwise glibc
returns each to the kernel, which hands out zeroed pages one by one the next time: training the
DCGAN at 64 pixels 150,000 page faults a step, a sixth of its processor time; drawing eight pictures
with the bundled model some hundreds to thousands a pass, nothing to a fifth of it. Results do not
change. The process holds on to the most memory that it ever needed, which in steady work it needs
again right away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

__all__ = ["give_back_memory", "keep_memory"]

# Of <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_BLOCK = 1 << 30
_NEVER = 2**31 - 1
_STEP = 64 << 20
# With one of these somebody has decided already.
_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_")


def keep_memory() -> bool:
    """Have this process keep what it frees; for programs, which own their process.

    Returns:
        Whether it does. Not where the C library is not glibc, or `MALLOC_TRIM_THRESHOLD_`,
        `MALLOC_TOP_PAD_` or `MALLOC_MMAP_THRESHOLD_` is set.
    """
    if os.name != "posix" or any(name in os.environ for name in _SETTINGS):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = {_MMAP_THRESHOLD: _LARGEST_BLOCK, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _STEP}
    return all(library.mallopt(name, value) for name, value in settings.items())


def give_back_memory() -> None:
    """Let the system have what this process freed, as after a model that is not needed any more.

    Does nothing where the C library is not glibc, which keeps much for itself even without
    `keep_memory`: of the bundled model half, as measured.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
