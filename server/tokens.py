"""Who may call, and how many pictures each may have: tokens with names, rates and quotas."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from t2i.errors import InvalidInput

__all__ = ["Grant", "OverQuota", "Tokens", "check_token"]

TOKEN_CHARACTERS = 16
# A caller who was silent may have so many seconds' worth of pictures at once.
BURST_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_PREFIX = "Bearer "
_KNOWN = {"token", "pictures_per_second", "pictures_per_day"}

_log = logging.getLogger("t2i.server")


class OverQuota(Exception):
    """A caller asks for more pictures than its token allows.

    Attributes:
        limit: `pictures_per_second` or `pictures_per_day`.
        retry_seconds: when there is room for the request; None when there never is.
    """

    def __init__(self, limit: str, retry_seconds: float | None) -> None:
        super().__init__(limit)
        self.limit = limit
        self.retry_seconds = retry_seconds


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows.

    Attributes:
        name: of whom it was given to; empty for a token that everybody has.
        digest: SHA-256 of the token. The token itself is not kept.
        pictures_per_second: sustained rate, with bursts of `BURST_SECONDS`; None for any.
        pictures_per_day: in a day of UTC; None for any.
    """

    name: str
    digest: bytes
    pictures_per_second: float | None = None
    pictures_per_day: int | None = None


def check_token(token: str) -> str:
    """Return a token that is long enough to be one.

    Raises:
        InvalidInput: it is too short, or not plain ASCII. The value stays out of the message.
    """
    if len(token) < TOKEN_CHARACTERS or not token.isascii() or " " in token:
        raise InvalidInput(
            "token",
            "(hidden)",
            "is too short or not plain ASCII",
            f"give at least {TOKEN_CHARACTERS} letters and digits without spaces",
        )
    return token


class Tokens:
    """The tokens that calls may carry, and what each has used up.

    Used on the event loop only. What was used is counted in memory and begins anew with the server.

    Args:
        grants: the tokens.
        clock: seconds that only grow.
        today: the day of UTC.
    """

    def __init__(
        self,
        grants: Iterable[Grant],
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._grants = tuple(grants)
        self._clock, self._today = clock, today
        self._file: Path | None = None
        self._seen: tuple[int, int, int] | None = None
        self._looked = clock()
        self._full_at: dict[str, float] = {}
        self._day, self._spent = "", dict[str, int]()

    @classmethod
    def of_one(cls, token: str) -> Tokens:
        """Return one token that everybody has, without limits."""
        return cls([Grant("", _digest(token))])

    @classmethod
    def from_file(cls, file: Path) -> Tokens:
        """Read tokens from a TOML file, a table each, and again whenever the file changes.

        A table's name is the caller's; ``token`` is required, ``pictures_per_second`` and
        ``pictures_per_day`` are not.

        Raises:
            InvalidInput: the file cannot be read, or holds something else.
        """
        tokens = cls(read_grants(file))
        tokens._file, tokens._seen = file, _state(file)
        return tokens

    def find(self, authorization: str | bytes | None) -> Grant | None:
        """Return what the header `authorization` allows; None when it allows nothing.

        Takes as long for a wrong token as for a right one.
        """
        self._refresh()
        text = (
            authorization.decode("latin-1") if isinstance(authorization, bytes) else authorization
        )
        given = _digest((text or "").removeprefix(_PREFIX))
        found = None
        for grant in self._grants:
            # No early end: the time must not tell which token is nearly right.
            if hmac.compare_digest(grant.digest, given):
                found = grant
        return found if text is not None and text.startswith(_PREFIX) else None

    def named(self, name: str) -> Grant | None:
        """Return what the token of this name allows; None when there is none (any more)."""
        self._refresh()
        return next((grant for grant in self._grants if grant.name == name), None)

    def spend(self, grant: Grant, pictures: int) -> None:
        """Take pictures off what a caller may have.

        Raises:
            OverQuota: that would be too many; nothing is taken.
        """
        rate, daily, now = grant.pictures_per_second, grant.pictures_per_day, self._clock()
        day = self._today()
        if self._day != day.date().isoformat():
            self._day, self._spent = day.date().isoformat(), {}
        spent = self._spent.get(grant.name, 0) + pictures
        if daily is not None and spent > daily:
            midnight = datetime.combine(day.date(), datetime.min.time(), UTC) + timedelta(days=1)
            wait = (midnight - day).total_seconds() if pictures <= daily else None
            raise OverQuota("pictures_per_day", wait)
        if rate is not None:
            # A bucket that is full at `full_at` and empty `burst` earlier.
            burst = max(BURST_SECONDS, 1.0 / rate)
            full_at = max(self._full_at.get(grant.name, now), now) + pictures / rate
            if full_at - now > burst:
                fits = pictures / rate <= burst
                raise OverQuota("pictures_per_second", full_at - now - burst if fits else None)
            self._full_at[grant.name] = full_at
        self._spent[grant.name] = spent

    def _refresh(self) -> None:
        now = self._clock()
        if self._file is None or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        try:
            state = _state(self._file)
            if state == self._seen:
                return
            self._seen = state
            self._grants = read_grants(self._file)
        except (OSError, InvalidInput) as error:
            _log.error("tokens stay as they were: %s", error)
        else:
            _log.info("%d tokens read anew", len(self._grants))


def read_grants(file: Path) -> tuple[Grant, ...]:
    """Read what tokens allow from a TOML file; see `Tokens.from_file`.

    Raises:
        InvalidInput: the file cannot be read, or a table is not as it should be.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # The decoder's message holds a place, not what stands there.
        raise InvalidInput(
            "tokens", str(file), f"{file} cannot be read ({error})", "give a TOML file"
        ) from error
    grants = tuple(_grant(file, name, table) for name, table in tables.items())
    if not grants:
        raise InvalidInput(
            "tokens", str(file), f"{file} has no table", 'write [name] and token = "..." into it'
        )
    if len({grant.digest for grant in grants}) < len(grants):
        raise InvalidInput(
            "tokens", str(file), f"{file} has a token twice", "give each name its own"
        )
    return grants


def _grant(file: Path, name: str, table: object) -> Grant:
    def wrong(field: str, problem: str, remedy: str) -> InvalidInput:
        return InvalidInput(f"{file}: {name}.{field}", "(hidden)", problem, remedy)

    if not isinstance(table, Mapping):
        raise wrong("token", "is not in a table", f'write [{name}] and token = "..." below it')
    for field in table:
        if field not in _KNOWN:
            raise wrong(field, "is unknown", f"give {', '.join(sorted(_KNOWN))}")
    token = table.get("token")
    if not isinstance(token, str):
        raise wrong("token", "is missing or no text", f"give {TOKEN_CHARACTERS} characters or more")
    try:
        check_token(token)
    except InvalidInput as error:
        raise wrong("token", error.problem, error.remedy) from error
    rate, daily = table.get("pictures_per_second"), table.get("pictures_per_day")
    if rate is not None and not (_is_number(rate) and rate > 0):
        raise wrong("pictures_per_second", "is no number above 0", "give for example 5")
    if daily is not None and not (_is_number(daily) and daily >= 1 and daily == int(daily)):
        raise wrong("pictures_per_day", "is no whole number above 0", "give for example 10000")
    return Grant(
        name,
        _digest(token),
        None if rate is None else float(rate),
        None if daily is None else int(daily),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _state(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(token: str) -> bytes:
    # Digests have one length, so that a comparison tells nothing of the token's.
    return hashlib.sha256(token.encode()).digest()
