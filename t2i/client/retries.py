"""When to ask again, and how long to wait before."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from t2i.client.errors import ResourceExhaustedError, ServiceError, UnavailableError

__all__ = ["Attempts"]

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
JITTER = 0.25
# What the service says to come back for with as much time again, not with what is left of it.
_TOO_LATE = "DEADLINE_OUT_OF_REACH"


@dataclass(slots=True)
class Attempts:
    """The attempts of one request: at most `1 + max_retries`, all within one deadline.

    A request is repeated when the service could not be reached (UNAVAILABLE), or when it was full
    and said when to come back (RESOURCE_EXHAUSTED with RetryInfo). The wait is what the service
    asked for, else 0.5 s doubled for each attempt up to 8 s; jitter keeps clients from coming back
    all at once. A request that was refused because it could not be done in its time
    (DEADLINE_OUT_OF_REACH) is not repeated: there would be less time, and the rest of the queue is
    still there.

    Args:
        timeout: seconds for all attempts and the waits between them.
        max_retries: number of attempts after the first, 0 or more.
    """

    timeout: float
    max_retries: int
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    retries: int = field(default=0, init=False)
    _deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self._deadline = self.clock() + self.timeout

    @property
    def remaining(self) -> float:
        """Seconds left until the deadline, 0 or more."""
        return max(0.0, self._deadline - self.clock())

    def wait_after(self, error: ServiceError) -> float:
        """Return how many seconds to wait before the next attempt.

        Raises:
            ServiceError: the given error, when asking again is of no use or there is no time left.
        """
        if self.retries >= self.max_retries or not _worth_repeating(error):
            raise error
        if error.retry_after is None:
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**self.retries)
            wait = longest * (1 - JITTER * self.jitter())
        else:
            # Never before the time that the service named.
            wait = error.retry_after * (1 + JITTER * self.jitter())
        if wait >= self.remaining:
            raise error
        self.retries += 1
        return wait


def _worth_repeating(error: ServiceError) -> bool:
    if isinstance(error, ResourceExhaustedError):
        return error.retry_after is not None and error.reason != _TOO_LATE
    return isinstance(error, UnavailableError)
