from __future__ import annotations

import asyncio
import gc

import pytest

from server.background import Background


async def test_who_gives_up_waiting_does_not_end_the_work_and_closing_does() -> None:
    background, go, done = Background(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        await go.wait()
        done.set()
        return "done"

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(background.finish(work()), 0.01)
    gc.collect()
    go.set()
    await asyncio.wait_for(done.wait(), 5)
    assert await background.finish(work()) == "done"
    go.clear()
    endless = background.start(work())
    await background.close()
    assert endless.cancelled()


async def test_what_goes_wrong_is_for_whoever_asked_and_for_nobody_else() -> None:
    background, strayed = Background(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, told: strayed.append(told))

    async def fail() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await background.finish(fail())
    background.start(fail())
    await asyncio.sleep(0.01)
    gc.collect()
    assert strayed == []
    await background.close()
