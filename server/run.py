"""A server as a process: its signals, its end, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from server.app import Server
from server.backends import Backend
from server.settings import Settings
from t2i.files import write_atomically
from t2i.memory import keep_memory

__all__ = ["serve"]

_log = logging.getLogger("t2i.server")

_SWITCH_SECONDS = 0.0005


async def serve(settings: Settings, backend: Backend | None = None) -> bool:
    """Serve until SIGTERM or SIGINT; a second signal ends without waiting for running calls.

    Args:
        settings: how to serve.
        backend: where pictures are drawn; by default in threads of this process.

    Returns:
        Whether nothing is left behind. False when a model was still being loaded: nothing can
        interrupt that thread, and Python would wait for it at exit.

    Raises:
        T2IError: the address cannot be bound or a model cannot be loaded.
    """
    # A thread that computes in Python keeps the interpreter for 5 ms unless told otherwise, and the
    # event loop would wait that long for its turn.
    sys.setswitchinterval(_SWITCH_SECONDS)
    keep_memory()
    # Before SIGHUP is ours: until then a terminal that is closed ends the process by itself.
    has_terminal = sys.stderr.isatty()
    signals = _Signals((signal.SIGTERM, signal.SIGINT))
    refreshes = _Signals((signal.SIGHUP,))
    server = Server(settings, backend)
    await server.start()
    _log.info("listening on %s, loading %s", server.address, ", ".join(settings.models))
    if server.admin_address is not None:
        _log.info("listening on %s for operators", server.admin_address)
    loading = asyncio.create_task(server.load())
    refreshing = asyncio.create_task(_refresh_on(refreshes, server, has_terminal=has_terminal))
    stop = asyncio.create_task(signals.wait())
    await asyncio.wait({loading, stop}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        try:
            loading.result()
        except BaseException:
            await server.stop(0)
            raise
        _log.info("ready on %s, %.1f s after start", server.address, _seconds_since_start())
        await stop
    was_loaded = loading.done() and not server.changing
    refreshing.cancel()
    _log.info("stopping on signal, at most %.0f s for running calls", settings.drain_seconds)
    loading.cancel()
    draining = asyncio.create_task(server.stop())
    again = asyncio.create_task(signals.wait())
    await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        await server.stop(0)
    await draining
    again.cancel()
    if settings.report_file is not None:
        write_atomically(settings.report_file, json.dumps(server.report(), indent=2).encode())
    _log.info("stopped")
    return was_loaded


async def _refresh_on(signals: _Signals, server: Server, *, has_terminal: bool) -> None:
    """Look for other versions of the models whenever SIGHUP comes.

    The same signal tells of a terminal that was closed; a server that was started there ends then.
    """
    while True:
        await signals.wait()
        if has_terminal and not sys.stderr.isatty():
            signal.raise_signal(signal.SIGTERM)
            return
        _log.info("looking for other versions of the models")
        await server.refresh()


class _Signals:
    """Signals as something to await, one after the other."""

    def __init__(self, numbers: Sequence[signal.Signals]) -> None:
        self._arrived: asyncio.Queue[None] = asyncio.Queue()
        for number in numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._arrived.put_nowait, None)

    async def wait(self) -> None:
        await self._arrived.get()


def _seconds_since_start() -> float:
    """Seconds since the process began, imports of Python included."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[19])
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return now - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        # Not Linux: processor time is the nearest that Python knows.
        return time.process_time()
