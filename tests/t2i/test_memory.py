from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

BLOCK_MB = 40
PROGRAM = f"""
import resource
from t2i.memory import keep_memory
kept = {{}}
bytearray({BLOCK_MB} << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    bytearray({BLOCK_MB} << 20)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call: str, **settings: str) -> tuple[bool, int]:
    """What `keep_memory` said, and page faults of five large blocks after one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_freed_is_used_again_without_a_page_fault() -> None:
    # Where pages are large there are few faults either way, but not as few.
    _, without = faults("False")
    kept, beside = faults("keep_memory()")
    assert kept
    assert beside < 0.1 * without


def test_whoever_set_the_allocator_is_left_alone() -> None:
    assert not faults("keep_memory()", MALLOC_TRIM_THRESHOLD_="1000000")[0]
