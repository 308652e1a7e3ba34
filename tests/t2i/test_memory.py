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


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process")
def test_what_was_freed_can_be_given_back() -> None:
    program = """
import os
from t2i.memory import give_back_memory, keep_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
keep_memory()
before = resident()
del [bytearray(40 << 20) for _ in range(3)][:]
kept = resident() - before
give_back_memory()
print(kept, resident() - before)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 100
    assert left < 10
