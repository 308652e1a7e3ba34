"""Asks a second time when the first answer is slow, and takes whichever comes first.

One slow machine of several otherwise decides how long the slowest requests take (Dean and Barroso,
The Tail at Scale, 2013). The second call goes to the next address; the loser is cancelled, which
frees its place on its server at once. Harmless for drawing: nothing is changed by asking.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

__all__ = ["Call", "first_answer", "first_answer_blocking"]

_Answer = TypeVar("_Answer")


class Call(Protocol):
    """What a blocking stub's `future` returns, as far as it is needed here."""

    def add_done_callback(self, callback: Callable[[Any], None], /) -> None:
        """Have it told when the call is over."""

    def cancel(self) -> bool:
        """End the call, if it is not over."""

    def result(self) -> Any:
        """Return the answer, or raise why there is none."""

    def exception(self) -> BaseException | None:
        """Return why there is no answer."""


async def first_answer(start: Callable[[], Awaitable[_Answer]], after: float) -> _Answer:
    """Return the first answer of one call, or of two when it takes longer than `after`.

    Args:
        start: makes a call.
        after: seconds, more than 0.

    Raises:
        Exception: what the first call raised, when it failed in this time; what the last one
            raised, when both failed.
    """
    calls = {asyncio.ensure_future(start())}
    try:
        done, _ = await asyncio.wait(calls, timeout=after)
        if not done:
            calls.add(asyncio.ensure_future(start()))
        while True:
            done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in done:
                if not running or call.exception() is None:
                    return call.result()
            calls -= done
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


def first_answer_blocking(start: Callable[[], Call], after: float) -> Any:
    """Do the same with calls of a blocking stub."""
    done: queue.SimpleQueue[Call] = queue.SimpleQueue()
    calls = [start()]
    try:
        calls[0].add_done_callback(done.put)
        try:
            call = done.get(timeout=after)
        except queue.Empty:
            calls.append(start())
            calls[1].add_done_callback(done.put)
            call = done.get()
            if call.exception() is not None:
                call = done.get()
        return call.result()
    finally:
        for call in calls:
            call.cancel()
