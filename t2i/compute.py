"""Runs small pieces of work side by side on the CPU, each on one thread and always the same way.

The last bits of a matrix product depend on how many rows are multiplied together and on how many
threads share the work. Whoever needs the same bytes every time (one picture, one caption) therefore
computes each piece alone on a thread that torch may not split further. Pieces run side by side on
the machine's cores instead, which on small networks is also faster than splitting each of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

__all__ = ["core_count", "limit_cores", "run_apart"]

T = TypeVar("T")
R = TypeVar("R")

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_limit: int | None = None


def core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return count if _limit is None else min(count, _limit)


def limit_cores(count: int) -> None:
    """Keep no more than `count` cores busy from now on; call it before anything is computed.

    Args:
        count: 1 or more.
    """
    global _limit
    _limit = count
    torch.set_num_threads(core_count())


def run_apart(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return `function(item)` for each item, in order, each computed on one thread.

    Gradients are off. The threads are shared by the whole process, one a core, so that callers in
    many threads do not crowd each other out.

    Raises:
        Exception: whatever `function` raises; the first in the order of the items.
    """

    def alone(item: T) -> R:
        with torch.inference_mode():
            return function(item)

    return list(_threads().map(alone, items))


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            count = core_count()
            started = threading.Barrier(count)
            pool = ThreadPoolExecutor(count, thread_name_prefix="t2i")
            # Torch's setting belongs to the thread that makes it, but is also what threads born
            # later start with: give that back its value once all of ours are born.
            before = torch.get_num_threads()
            list(pool.map(lambda _: _use_one_thread(started), range(count)))
            torch.set_num_threads(before)
            _pool = pool
        return _pool


def _use_one_thread(started: threading.Barrier) -> None:
    # Nobody passes before every thread of the pool holds one of these calls.
    started.wait()
    # A thread takes over the common setting when it first asks: let it do so before, not after.
    torch.get_num_threads()
    torch.set_num_threads(1)


def _forget() -> None:
    # Threads do not survive a fork; the child makes its own.
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
