from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest

from server.backends import Batch, Described, Drawn, Item
from server.engine import BackendFailed, DeadlinePassed, Engine, QueueFull, Ticket
from t2i.conditions import Text
from t2i.errors import InvalidInput, T2IError


class Gate:
    """A backend that records what it is given and draws nothing until a batch is let through."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.best_batch = 3
        self.batches: list[tuple[str, list[int]]] = []
        self.passes = asyncio.Semaphore(0)
        self.workers_free = asyncio.Semaphore(workers)
        self.broken: Exception | None = None

    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        raise AssertionError("the engine never loads")

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        async with self.workers_free:
            return await self.draw(model, items, begin())

    async def draw(self, model: str, items: Sequence[Item], wanted: Sequence[bool]) -> Batch:
        seeds = [item.seed for item, keep in zip(items, wanted, strict=True) if keep]
        if seeds:
            self.batches.append((model, seeds))
            await self.passes.acquire()
        if self.broken is not None:
            raise self.broken
        outcomes: list[Drawn | T2IError | None] = []
        for item, keep in zip(items, wanted, strict=True):
            if not keep:
                outcomes.append(None)
            elif item.condition == Text("refused"):
                outcomes.append(InvalidInput("text", "refused", "is bad", "say something else"))
            else:
                outcomes.append(Drawn((np.full((1, 1, 3), item.seed, np.uint8),)))
        return Batch(outcomes, encode_seconds=0.25, generate_seconds=0.5)

    async def close(self) -> None: ...


def items(*seeds: int, text: str = "a bird") -> list[Item]:
    return [Item(Text(text), seed) for seed in seeds]


async def seeds_of(ticket: Ticket) -> list[int]:
    received: dict[int, int] = {}
    async for part in ticket.parts():
        for offset, drawn in enumerate(part.drawn):
            received[part.start + offset] = int(drawn.pictures[0][0, 0, 0])
    return [received[index] for index in sorted(received)]


async def until(gate: Gate, batches: int) -> None:
    async with asyncio.timeout(5):
        while len(gate.batches) < batches:
            await asyncio.sleep(0)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def engine(gate: Gate) -> AsyncIterator[Engine]:
    engine = Engine(gate, max_batch=4, queue_limit=20)
    engine.start()
    yield engine
    await engine.close()


async def test_a_free_worker_takes_a_lone_request_at_once(engine: Engine, gate: Gate) -> None:
    ticket = engine.submit("m", items(7))
    await until(gate, 1)
    gate.passes.release()
    assert await seeds_of(ticket) == [7]


async def test_requests_that_wait_run_together(engine: Engine, gate: Gate) -> None:
    first = engine.submit("m", items(1))
    await until(gate, 1)
    second, third = engine.submit("m", items(2)), engine.submit("m", items(3, 4))
    gate.passes.release()
    gate.passes.release()
    assert await asyncio.gather(*map(seeds_of, (first, second, third))) == [[1], [2], [3, 4]]
    assert gate.batches == [("m", [1]), ("m", [2, 3, 4])]


async def test_a_large_request_is_split_and_arrives_whole(engine: Engine, gate: Gate) -> None:
    ticket = engine.submit("m", items(*range(10)))
    for _ in range(3):
        gate.passes.release()
    assert await seeds_of(ticket) == list(range(10))
    assert [len(seeds) for _, seeds in gate.batches] == [4, 4, 2]


async def test_without_a_setting_the_backend_says_how_large_a_batch_is(gate: Gate) -> None:
    engine = Engine(gate, max_batch=None, queue_limit=20)
    engine.start()
    ticket = engine.submit("m", items(*range(4)))
    gate.passes.release()
    gate.passes.release()
    assert await seeds_of(ticket) == [0, 1, 2, 3]
    assert [len(seeds) for _, seeds in gate.batches] == [3, 1]
    await engine.close()


async def test_models_never_share_a_batch_and_the_oldest_request_goes_first(
    engine: Engine, gate: Gate
) -> None:
    tickets = [engine.submit("x", items(0))]
    await until(gate, 1)
    for model, seed in (("y", 1), ("x", 2), ("y", 3)):
        tickets.append(engine.submit(model, items(seed)))
    for _ in range(3):
        gate.passes.release()
    await asyncio.gather(*map(seeds_of, tickets))
    assert gate.batches == [("x", [0]), ("y", [1, 3]), ("x", [2])]


async def test_a_cancelled_request_that_waits_is_never_drawn(engine: Engine, gate: Gate) -> None:
    running = engine.submit("m", items(1))
    await until(gate, 1)
    cancelled, kept = engine.submit("m", items(2, 3)), engine.submit("m", items(4))
    cancelled.cancel()
    assert engine.waiting == 1
    gate.passes.release()
    gate.passes.release()
    await asyncio.gather(seeds_of(running), seeds_of(kept))
    assert gate.batches == [("m", [1]), ("m", [4])]


async def test_a_request_cancelled_half_way_draws_no_further_batch(
    engine: Engine, gate: Gate
) -> None:
    ticket = engine.submit("m", items(*range(10)))
    await until(gate, 1)
    ticket.cancel()
    gate.passes.release()
    after = engine.submit("m", items(11))
    gate.passes.release()
    await seeds_of(after)
    assert gate.batches == [("m", [0, 1, 2, 3]), ("m", [11])]


async def test_an_expired_request_is_told_so_and_never_drawn(engine: Engine, gate: Gate) -> None:
    running = engine.submit("m", items(1))
    await until(gate, 1)
    now = asyncio.get_running_loop().time()
    expired = engine.submit("m", items(2), deadline=now + 0.01)
    await asyncio.sleep(0.02)
    gate.passes.release()
    await seeds_of(running)
    with pytest.raises(DeadlinePassed):
        await seeds_of(expired)
    assert gate.batches == [("m", [1])]
    assert engine.waiting == 0


async def test_a_full_queue_refuses_and_tells_when_to_come_back(engine: Engine, gate: Gate) -> None:
    engine.submit("m", items(0))
    await until(gate, 1)
    for first in (1, 11):
        engine.submit("m", items(*range(first, first + 10)))
    with pytest.raises(QueueFull) as full:
        engine.submit("m", items(21))
    assert 0.1 <= full.value.retry_seconds <= 30
    assert engine.waiting == 20


async def test_a_cancelled_request_makes_room_at_once(engine: Engine, gate: Gate) -> None:
    engine.submit("m", items(0))
    await until(gate, 1)
    big = engine.submit("m", items(*range(1, 21)))
    big.cancel()
    engine.submit("m", items(*range(21, 41)))
    assert engine.waiting == 20


async def test_one_bad_condition_spoils_only_its_own_request(engine: Engine, gate: Gate) -> None:
    running = engine.submit("m", items(1))
    await until(gate, 1)
    bad, good = engine.submit("m", items(2, text="refused")), engine.submit("m", items(3))
    gate.passes.release()
    gate.passes.release()
    assert await seeds_of(running) == [1]
    with pytest.raises(InvalidInput, match="say something else"):
        await seeds_of(bad)
    assert await seeds_of(good) == [3]


async def test_a_failed_batch_fails_its_requests_with_the_cause_and_the_worker_goes_on(
    engine: Engine, gate: Gate
) -> None:
    gate.broken = RuntimeError("out of memory")
    broken = engine.submit("m", items(1))
    gate.passes.release()
    with pytest.raises(BackendFailed) as failure:
        await seeds_of(broken)
    assert failure.value.__cause__ is gate.broken
    gate.broken = None
    gate.passes.release()
    assert await seeds_of(engine.submit("m", items(2))) == [2]


async def test_two_workers_draw_two_batches_at_the_same_time() -> None:
    gate = Gate(workers=2)
    engine = Engine(gate, max_batch=4, queue_limit=20)
    engine.start()
    ticket = engine.submit("m", items(*range(8)))
    await until(gate, 2)
    gate.passes.release()
    gate.passes.release()
    assert await seeds_of(ticket) == list(range(8))
    await engine.close()


async def test_parts_carry_the_times_of_their_batch(engine: Engine, gate: Gate) -> None:
    first = engine.submit("m", items(1))
    await until(gate, 1)
    second = engine.submit("m", items(2))
    await asyncio.sleep(0.02)
    gate.passes.release()
    gate.passes.release()
    assert [part.queue_seconds < 0.02 async for part in first.parts()] == [True]
    parts = [part async for part in second.parts()]
    assert [part.queue_seconds >= 0.02 for part in parts] == [True]
    assert (parts[0].encode_seconds, parts[0].generate_seconds) == (0.25, 0.5)
