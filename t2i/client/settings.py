"""What both clients let their callers set."""

from __future__ import annotations

import math
from dataclasses import dataclass

from t2i.client.retries import Attempts
from t2i.errors import InvalidInput, T2IError, shown

__all__ = ["ClientClosed", "Settings", "check_open"]


class ClientClosed(T2IError):
    """A client was used after it had been closed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The patience of a client.

    Args:
        timeout: seconds for a request with all its attempts, more than 0.
        max_retries: number of attempts after the first, 0 or more.
    """

    timeout: float
    max_retries: int

    def __post_init__(self) -> None:
        _check_timeout(self.timeout)
        if (
            not isinstance(self.max_retries, int)
            or isinstance(self.max_retries, bool)
            or self.max_retries < 0
        ):
            raise InvalidInput(
                "max_retries",
                self.max_retries,
                f"{shown(self.max_retries)} is no number of attempts",
                "give a whole number, 0 or more",
            )

    def attempts(self, timeout: float | None) -> Attempts:
        """Return the attempts of a new request, with its own timeout when it has one."""
        if timeout is not None:
            _check_timeout(timeout)
        return Attempts(self.timeout if timeout is None else timeout, self.max_retries)


def check_open(closed: bool) -> None:
    """Check that a client may still be used.

    Raises:
        ClientClosed: if it was closed.
    """
    if closed:
        raise ClientClosed("the client is closed; make a new one, or ask before closing it")


def _check_timeout(timeout: object) -> None:
    if (
        not isinstance(timeout, int | float)
        or isinstance(timeout, bool)
        or not math.isfinite(timeout)
        or timeout <= 0
    ):
        raise InvalidInput(
            "timeout", timeout, f"{shown(timeout)} is no time", "give seconds, more than 0"
        )
