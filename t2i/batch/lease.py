"""A lock for stores that have none: an object that its holder renews.

It is created only where there is none, and so found by whoever comes second. A holder that was
killed cannot remove it. Its process is looked for where it ran on this machine; from elsewhere the
lock is watched for as long as three renewals take, and taken over if nothing happens to it. No two
clocks are compared.

Limits: a store that cannot create an object for one caller alone, or a holder whose network fails
for that long, can let two runs in. Either notices at its next renewal that the lock is not its own
and stops. Until then both write the same bytes under the same names, for a folder of another job is
refused in any case; only `--restart` with other options beside a run that is still at work is not
safe on such a store.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from t2i.batch.local import busy, who_am_i

__all__ = ["Holds", "lease"]

RENEW_SECONDS = 10.0
PATIENCE_SECONDS = 3 * RENEW_SECONDS
# For a lock that is found half written.
_READINGS, _READ_AGAIN_SECONDS = 10, 0.05
# For a store that shows to one what another has just written.
_SETTLE_SECONDS = 0.5
_LOOK_SECONDS = 1.0


class Holds(Protocol):
    """What a lock is kept in: the part of `RemoteStorage` that is needed for it."""

    def place(self, name: str = "") -> str:
        """Return where a name is."""

    def read(self, name: str) -> bytes:
        """Return a file, or raise `FileNotFoundError`."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if there is none; return whether there was none."""

    def replace(self, name: str, data: bytes) -> None:
        """Write a file in place of what is there."""

    def remove(self, name: str) -> None:
        """Remove a file; it need not be there."""


@contextmanager
def lease(
    store: Holds,
    name: str,
    *,
    renew: float = RENEW_SECONDS,
    patience: float = PATIENCE_SECONDS,
) -> Iterator[Callable[[], None]]:
    """Hold a lock while the block runs; gives a function that raises if it was lost.

    Args:
        store: where it is kept.
        name: of the lock.
        renew: seconds between two renewals.
        patience: seconds without a renewal after which it is taken from a holder.

    Raises:
        FolderBusy: if somebody else holds it.
        OSError: if the store cannot be read or written.
    """
    lock = _Lock(store, name)
    lock.take(patience)
    stop = threading.Event()
    renewing = threading.Thread(target=lock.renew, args=[stop, renew], name="t2i-lock", daemon=True)
    renewing.start()
    try:
        yield lock.check
    finally:
        stop.set()
        renewing.join()
        lock.release()


class _Lock:
    def __init__(self, store: Holds, name: str) -> None:
        self._store, self._name = store, name
        self._token = secrets.token_hex(8)
        self._beat = 0
        self._lost = False

    def take(self, patience: float) -> None:
        """Get the lock, or raise `FolderBusy`."""
        if self._store.create(self._name, self._content()) and self._is_mine():
            return
        found = self._read()
        if found is not None and not _has_ended(found):
            self._watch(found, patience)
        self._store.replace(self._name, self._content())
        # Of two that take it over at the same moment the one that wrote last has it.
        time.sleep(_SETTLE_SECONDS)
        if not self._is_mine():
            raise self._busy(self._read())

    def renew(self, stop: threading.Event, seconds: float) -> None:
        """Show now and then that the holder lives."""
        while not stop.wait(seconds):
            # A network that fails for a while is the next renewal's business.
            with suppress(OSError):
                if not self._is_mine():
                    self._lost = True
                    return
                self._beat += 1
                self._store.replace(self._name, self._content())

    def check(self) -> None:
        """Raise `FolderBusy` if somebody else has taken the lock."""
        if self._lost:
            raise self._busy(self._read())

    def release(self) -> None:
        """Let others have it."""
        # Who cannot remove it leaves it to be taken over.
        with suppress(OSError):
            if self._is_mine():
                self._store.remove(self._name)

    def _watch(self, found: Mapping[str, object], patience: float) -> None:
        end = time.monotonic() + patience
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))
            now = self._read()
            if now is None:
                return
            if now != found:
                raise self._busy(now)

    def _busy(self, found: Mapping[str, object] | None) -> Exception:
        who = str((found or {}).get("who", ""))
        folder = self._store.place(self._name).rpartition("/")[0]
        return busy(folder, who)

    def _is_mine(self) -> bool:
        return (self._read() or {}).get("token") == self._token

    def _read(self) -> Mapping[str, object] | None:
        # Where a file is seen while it is written, a renewal shows it empty for a moment.
        for _ in range(_READINGS):
            try:
                found = json.loads(self._store.read(self._name))
            except FileNotFoundError:
                return None
            except ValueError:
                time.sleep(_READ_AGAIN_SECONDS)
            else:
                return found if isinstance(found, dict) else {}
        return {}

    def _content(self) -> bytes:
        told = {"who": who_am_i(), "token": self._token, "beat": self._beat, **_process()}
        return json.dumps(told).encode()


def _process() -> dict[str, object]:
    """Return what tells this process from every other one; nothing where that is not known."""
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Processes of two containers may have one number.
        space = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return {}
    began = _began(os.getpid())
    return {} if began is None else {"on": f"{machine} {space}", "pid": os.getpid(), "began": began}


def _began(pid: int) -> str | None:
    """Return when a process began, as the kernel tells it; None when there is none that runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _has_ended(found: Mapping[str, object]) -> bool:
    """Return whether a holder is known to be no more."""
    here = _process()
    pid = found.get("pid")
    if not here or found.get("on") != here["on"] or not isinstance(pid, int):
        return False
    return _began(pid) != found.get("began")
