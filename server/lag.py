"""How late the event loop is: the time by which a timer comes after it was due.

Whatever runs on the loop for long delays every request of every caller, and shows nowhere else. A
probe looks fifty times a second and remembers the worst. To look is to wake the loop, which costs a
busy machine a tenth of a millisecond: more often, it would show in what a picture costs.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["LagProbe", "Lags"]

_EVERY_SECONDS = 0.02
# Upper ends of the classes that lags are counted in, in seconds; about a quarter apart.
_ENDS = tuple(1e-4 * 1.25**n for n in range(48))


@dataclass(frozen=True, slots=True)
class Lags:
    """What a probe saw.

    Attributes:
        looks: how often it looked.
        median_ms: half of the lags were at most this, to a quarter.
        p99_ms: 99 of 100 were at most this, to a quarter.
        longest_ms: the longest.
        over_5_ms: how many were longer than 5 ms.
        own_longest_ms: the longest that the loop's own work explains, measured in processor time of
            its thread; the rest is the machine's other work, or a thread that held the interpreter.
        own_over_5_ms: how many of those were longer than 5 ms.
    """

    looks: int
    median_ms: float
    p99_ms: float
    longest_ms: float
    over_5_ms: int
    own_longest_ms: float
    own_over_5_ms: int


class LagProbe:
    """Measures the running event loop from `start` to `stop`."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_ENDS) + 1)
        self._longest = 0.0
        self._over = 0
        self._own_longest = 0.0
        self._own_over = 0
        self._worked = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start looking."""
        loop = asyncio.get_running_loop()
        self._worked = time.thread_time()
        self._due = loop.time() + _EVERY_SECONDS
        self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()

    def lags(self) -> Lags:
        """Return what was seen so far."""
        return Lags(
            looks=sum(self._counts),
            median_ms=self._quantile(0.5) * 1e3,
            p99_ms=self._quantile(0.99) * 1e3,
            longest_ms=self._longest * 1e3,
            over_5_ms=self._over,
            own_longest_ms=self._own_longest * 1e3,
            own_over_5_ms=self._own_over,
        )

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        lag = max(0.0, loop.time() - self._due)
        self._counts[bisect_left(_ENDS, lag)] += 1
        self._longest = max(self._longest, lag)
        self._over += lag > 0.005
        own = min(lag, time.thread_time() - self._worked)
        self._own_longest = max(self._own_longest, own)
        self._own_over += own > 0.005
        self.start()

    def _quantile(self, share: float) -> float:
        wanted, seen = share * sum(self._counts), 0
        for end, count in zip((*_ENDS, self._longest), self._counts, strict=True):
            seen += count
            if seen >= wanted and seen:
                return min(end, self._longest)
        return 0.0
