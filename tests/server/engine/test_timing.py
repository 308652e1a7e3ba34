"""The whole engine on simulated time: a backend that takes exactly as long as it says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np

from server.backends import Batch, Described, Drawn, Item
from server.engine import (
    DeadlineOutOfReach,
    DeadlinePassed,
    DeadlineTooShort,
    Engine,
    Priority,
    QueueFull,
    Ticket,
)
from t2i.conditions import Text
from tests.server.engine.virtual_time import run

BIRD = Item(Text("a bird"), 7)
PIXEL = (np.zeros((1, 1, 3), np.uint8),)
ROOM = 8
FIXED, EACH, ENCODE = 0.004, 0.002, 0.003
FULL = FIXED + EACH * ROOM
CAPACITY = ROOM / FULL


class Timed:
    """Draws one batch at a time in 4 ms and 2 ms a picture, after 3 ms of encoding."""

    workers = 1
    best_batch = ROOM

    def __init__(self) -> None:
        self.free = asyncio.Lock()
        self.batches: list[int] = []
        self.busy = 0.0
        self.idle: list[float] = []
        self._ended = 0.0

    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        raise AssertionError("the engine never loads")

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        await asyncio.sleep(ENCODE)
        async with self.free:
            wanted = begin()
            size = sum(wanted)
            seconds = FIXED + EACH * size if size else 0.0
            if size:
                now = asyncio.get_running_loop().time()
                self.idle.append(now - self._ended)
                await asyncio.sleep(seconds)
                self._ended = now + seconds
                self.batches.append(size)
                self.busy += seconds
            outcomes = [Drawn(PIXEL) if keep else None for keep in wanted]
            return Batch(outcomes, ENCODE, seconds)

    async def close(self) -> None: ...


@asynccontextmanager
async def engine_of(backend: Timed, queue_limit: int = 256) -> AsyncIterator[Engine]:
    engine = Engine(backend, max_batch=None, queue_limit=queue_limit)
    engine.start()
    await engine.calibrate("m", BIRD)
    backend.batches.clear()
    backend.idle.clear()
    backend.busy = 0.0
    yield engine
    await engine.close()


async def receive(ticket: Ticket) -> float:
    """Receive all of a request and return how long it took."""
    async for _ in ticket.parts():
        pass
    return asyncio.get_running_loop().time() - ticket.arrived


def test_the_worker_never_waits_for_the_next_batch_to_be_encoded() -> None:
    async def main() -> list[float]:
        backend = Timed()
        async with engine_of(backend) as engine:
            tickets = [engine.submit("m", [BIRD] * 8) for _ in range(10)]
            await asyncio.gather(*map(receive, tickets))
        return backend.idle

    idle = run(main())
    assert len(idle) == 10
    assert max(idle[1:]) < 1e-9


def test_the_batch_ahead_is_made_up_late_and_takes_in_what_came_meanwhile() -> None:
    async def main() -> list[int]:
        backend = Timed()
        async with engine_of(backend) as engine:
            tickets = [engine.submit("m", [BIRD] * 8)]
            for _ in range(8):
                await asyncio.sleep(0.001)
                tickets.append(engine.submit("m", [BIRD]))
            await asyncio.gather(*map(receive, tickets))
        return backend.batches

    assert run(main()) == [8, 8]


def test_a_lone_request_waits_for_nobody() -> None:
    async def main() -> float:
        async with engine_of(Timed()) as engine:
            return await receive(engine.submit("m", [BIRD]))

    assert abs(run(main()) - (ENCODE + FIXED + EACH)) < 1e-6


async def open_loop(
    engine: Engine, rates: dict[str, float], seconds: float, patience: float
) -> dict[str, list[float]]:
    """Ask at random, and return how long the requests took that were answered, by caller."""
    loop = asyncio.get_running_loop()
    taken: dict[str, list[float]] = {caller: [] for caller in rates}
    tasks: list[asyncio.Task[None]] = []

    async def one(caller: str) -> None:
        try:
            ticket = engine.submit("m", [BIRD], deadline=loop.time() + patience, caller=caller)
        except (DeadlineOutOfReach, DeadlineTooShort, QueueFull):
            return
        try:
            async with asyncio.timeout(patience):
                taken[caller].append(await receive(ticket))
        except (DeadlinePassed, QueueFull, TimeoutError):
            pass
        finally:
            ticket.cancel()

    async def ask(caller: str, rate: float) -> None:
        chance, until = random.Random(caller), loop.time() + seconds
        while (wait := chance.expovariate(rate)) + loop.time() < until:
            await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(one(caller)))

    await asyncio.gather(*(ask(caller, rate) for caller, rate in rates.items()))
    await asyncio.gather(*tasks)
    return taken


def test_below_capacity_the_slowest_of_a_hundred_takes_less_than_three_full_batches() -> None:
    async def main() -> list[float]:
        async with engine_of(Timed()) as engine:
            return (await open_loop(engine, {"a": 0.8 * CAPACITY}, 5.0, 1.0))["a"]

    taken = sorted(run(main()))
    assert taken[int(0.99 * len(taken))] < 3 * FULL


def test_in_an_overload_nearly_all_of_the_worker_goes_into_replies_in_time() -> None:
    async def main(load: float) -> tuple[int, int, int]:
        backend = Timed()
        async with engine_of(backend) as engine:
            taken = await open_loop(engine, {"a": load * CAPACITY}, 3.0, 0.200)
            return len(taken["a"]), sum(backend.batches), engine.held_bytes

    for load in (1.5, 3.0):
        in_time, drawn, held = run(main(load))
        assert in_time >= 0.95 * CAPACITY * 3.0
        assert in_time >= 0.99 * drawn
        assert held == 0


def test_beside_a_greedy_caller_the_modest_one_keeps_its_share() -> None:
    async def main() -> int:
        async with engine_of(Timed()) as engine:
            rates = {"modest": 0.5 * CAPACITY, "greedy": 3 * CAPACITY}
            return len((await open_loop(engine, rates, 3.0, 0.200))["modest"])

    assert run(main()) >= 0.9 * 0.5 * CAPACITY * 3.0


def test_a_greedy_caller_without_deadlines_cannot_fill_the_queue_for_others() -> None:
    async def main() -> float:
        async with engine_of(Timed(), queue_limit=64) as engine:
            greedy = [engine.submit("m", [BIRD] * 16, caller="greedy") for _ in range(4)]
            modest = await receive(engine.submit("m", [BIRD], caller="modest"))
            outcomes = await asyncio.gather(*map(receive, greedy), return_exceptions=True)
            assert sum(isinstance(outcome, QueueFull) for outcome in outcomes) == 1
            return modest

    assert run(main()) < 3 * FULL


def test_a_person_waits_for_at_most_the_batch_that_runs_and_the_one_ahead_of_a_job() -> None:
    async def main() -> float:
        async with engine_of(Timed()) as engine:
            jobs = [
                engine.submit("m", [BIRD] * 16, caller="job", priority=Priority.BATCH)
                for _ in range(10)
            ]
            await asyncio.sleep(0.050)
            took = await receive(engine.submit("m", [BIRD], caller="person"))
            for job in jobs:
                job.cancel()
            return took

    assert run(main()) < 2 * FULL + FIXED + EACH + 0.001


def test_what_is_cancelled_after_it_was_handed_over_costs_no_forward() -> None:
    async def main() -> tuple[list[int], int]:
        backend = Timed()
        async with engine_of(backend) as engine:
            first = engine.submit("m", [BIRD] * 8)
            # Late enough for the next batch to be at the backend already.
            second = engine.submit("m", [BIRD] * 3)
            await asyncio.sleep(ENCODE + FULL - 0.0005)
            second.cancel()
            await receive(first)
            await receive(engine.submit("m", [BIRD]))
            return backend.batches, engine.counts.cancelled

    assert run(main()) == ([8, 1], 1)


def test_what_expires_while_it_waits_is_told_at_once_and_costs_no_forward() -> None:
    async def main() -> tuple[list[int], float]:
        backend, loop = Timed(), asyncio.get_running_loop()
        async with engine_of(backend) as engine:
            busy = [engine.submit("m", [BIRD] * 8, caller="a") for _ in range(2)]
            ticket = engine.submit("m", [BIRD] * 4, caller="a", deadline=loop.time() + 0.062)
            # Others come and take their turns first.
            busy += [engine.submit("m", [BIRD] * 8, caller=f"{n}") for n in range(5)]
            try:
                await receive(ticket)
            except DeadlinePassed:
                told = loop.time() - ticket.arrived
            else:
                raise AssertionError("drawn, against the rules of the turns")
            await asyncio.gather(*map(receive, busy))
            return backend.batches, told

    batches, told = run(main())
    assert sum(batches) == 7 * 8
    assert told < 0.062
