"""A model by its name: where its bundle is, which version it has, and what became of it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from server.backends import Described
from server.model_memory import Version
from server.model_status import ModelState

__all__ = ["Pauses", "Slot"]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class Pauses:
    """When to try again what has failed: after pauses that double while it keeps failing."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE
        self._until = -math.inf

    @property
    def left(self) -> float:
        """Seconds until it may be tried; 0 or less if it may be now."""
        return self._until - asyncio.get_running_loop().time()

    def failed(self) -> float:
        """Take note that it failed; return the seconds until it may be tried."""
        pause = self._next
        self._until = asyncio.get_running_loop().time() + pause
        self._next = min(2 * pause, _LONGEST_PAUSE)
        return pause

    def over(self) -> None:
        """Let it be tried now, without taking back that it failed."""
        self._until = -math.inf

    def forget(self) -> None:
        """Take note that it went well."""
        self._next, self._until = _FIRST_PAUSE, -math.inf


@dataclass(eq=False, slots=True)
class Slot:
    """A model by its name. On the event loop, but for `state`.

    Attributes:
        name: of the model.
        source: name or folder of its bundle.
        described: what was last found there.
        version: what requests are given; None while it is not in memory.
        used: time of the loop when it was last asked for; None if it never was.
        waiting: requests that wait for it to be loaded.
        loading: loads it; gives why it cannot be.
        failure: why the last load failed; empty if it did not.
        pauses: when it may be loaded after that.
    """

    name: str
    source: str
    described: Described
    version: Version | None = None
    used: float | None = None
    waiting: int = 0
    loading: asyncio.Task[Exception | None] | None = None
    failure: str = ""
    pauses: Pauses = field(default_factory=Pauses)

    @property
    def state(self) -> ModelState:
        """What a request for it meets; for any thread."""
        if self.version is not None:
            return ModelState.LOADED
        if self.loading is not None:
            return ModelState.LOADING
        return ModelState.FAILED if self.failure else ModelState.UNLOADED

    @property
    def idle_seconds(self) -> float | None:
        """Since it was last asked for; None if it never was."""
        return None if self.used is None else asyncio.get_running_loop().time() - self.used

    def touch(self) -> None:
        """Take note that it is asked for."""
        self.used = asyncio.get_running_loop().time()

    def fail(self, error: Exception) -> float:
        """Take note that it cannot be loaded; return the seconds until it may be tried again."""
        self.failure = " ".join(str(error).split()) or type(error).__name__
        return self.pauses.failed()

    def forgive(self) -> None:
        """Take note that it can be had."""
        self.failure = ""
        self.pauses.forget()
