from __future__ import annotations

import asyncio
import time

from server.lag import LagProbe


async def test_what_the_loop_computes_itself_is_told_apart() -> None:
    probe = LagProbe()
    probe.start()
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    await asyncio.sleep(0.03)
    probe.stop()
    assert probe.lags().own_longest_ms >= 20
    assert probe.lags().own_over_5_ms == 1


async def test_what_blocks_the_loop_is_seen_and_what_waits_is_not() -> None:
    probe = LagProbe()
    probe.start()
    await asyncio.sleep(0.2)
    calm = probe.lags()
    time.sleep(0.08)
    await asyncio.sleep(0.03)
    probe.stop()
    seen = probe.lags()
    assert calm.looks >= 2
    assert seen.longest_ms >= 40
    assert seen.over_5_ms >= 1
    assert seen.own_longest_ms < 20
    assert seen.median_ms <= seen.p99_ms <= seen.longest_ms
    await asyncio.sleep(0.05)
    assert probe.lags() == seen


def test_before_it_looked_there_is_nothing() -> None:
    assert LagProbe().lags().looks == 0
