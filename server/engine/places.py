"""What waits, as the policy sees it: places in the queue, and why a place is not to be had."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "Bucket",
    "DeadlineOutOfReach",
    "DeadlinePassed",
    "DeadlineTooShort",
    "Place",
    "Priority",
    "QueueFull",
    "Share",
]


class Priority(IntEnum):
    """Who goes first: someone who looks at the screen, or a job that runs overnight."""

    INTERACTIVE = 0
    BATCH = 1


class Bucket(NamedTuple):
    """What may run in one batch: one version of a model, asked with one kind of condition.

    A model draws all its resolutions at once, so the model tells the resolution.
    """

    model: str
    kind: str


class QueueFull(Exception):
    """Too much waits already.

    Attributes:
        retry_seconds: when the present queue will probably be done.
    """

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(f"the queue is full for about {retry_seconds:.1f} s")
        self.retry_seconds = retry_seconds


class DeadlineOutOfReach(Exception):
    """With what waits already, the deadline cannot be met.

    Attributes:
        retry_seconds: when a request with as much time would probably be met.
    """

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(f"would be late by about {retry_seconds:.1f} s")
        self.retry_seconds = retry_seconds


class DeadlineTooShort(Exception):
    """Not even an idle server could meet the deadline.

    Attributes:
        needed_seconds: what the request takes alone.
    """

    def __init__(self, needed_seconds: float) -> None:
        super().__init__(f"takes about {needed_seconds:.2f} s")
        self.needed_seconds = needed_seconds


class DeadlinePassed(Exception):
    """A request that waited could no longer be done in time, and was not begun."""


@dataclass(eq=False, slots=True)
class Place:
    """A request in the queue.

    Attributes:
        bucket: what it may share a batch with.
        pictures: how many it asks for, 1 or more.
        caller: who asks; callers share the workers evenly.
        priority: its class.
        arrived: when, in seconds of the clock that all times here are of.
        deadline: after which nobody wants the pictures; None for never.
        bytes: what it holds of memory until its pictures are delivered.
        taken: its pictures before this index were put into batches.
        given_up: whether nobody wants the rest. Read by workers' threads too.
    """

    bucket: Bucket
    pictures: int
    caller: str = ""
    priority: Priority = Priority.INTERACTIVE
    arrived: float = 0.0
    deadline: float | None = None
    bytes: int = 0
    taken: int = 0
    given_up: bool = False

    @property
    def waiting(self) -> int:
        """How many of its pictures still wait for a worker."""
        return 0 if self.given_up else self.pictures - self.taken


class Share(NamedTuple):
    """Consecutive pictures of a request that are in one batch: `start` to one before `stop`."""

    place: Place
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many."""
        return self.stop - self.start
