"""What both clients let their callers set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

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
        hedge_after: seconds after which a request without an answer is asked a second time, beside
            the first; 0 for never.
    """

    timeout: float
    max_retries: int
    hedge_after: float = 0.0

    def __post_init__(self) -> None:
        _check_timeout(self.timeout)
        if not _is_number(self.hedge_after) or self.hedge_after < 0:
            raise InvalidInput(
                "hedge_after",
                self.hedge_after,
                f"{shown(self.hedge_after)} is no time",
                "give seconds, or 0 for never",
            )
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
    if not _is_number(timeout) or timeout <= 0:
        raise InvalidInput(
            "timeout", timeout, f"{shown(timeout)} is no time", "give seconds, more than 0"
        )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
