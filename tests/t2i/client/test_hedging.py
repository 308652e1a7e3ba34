from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from t2i.client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    NotFoundError,
    UnavailableError,
)
from t2i.client.hedging import first_answer
from t2i.errors import InvalidInput
from tests.t2i.client.faulty_service import Hang, Refusal, Service


def test_a_slow_answer_is_asked_for_once_more_and_the_loser_is_cancelled(service: Service) -> None:
    service.faults = [Hang()]
    began = time.monotonic()
    with Client(service.address, hedge_after=0.1) as client:
        result = client.generate_images("a red square", seeds=[3])
        assert service.let_go.wait(5)
    assert [image.seed for image in result.images] == [3]
    assert len(service.requests) == 2
    assert time.monotonic() - began < 5


async def test_the_event_loops_client_does_the_same(service: Service) -> None:
    service.faults = [Hang()]
    async with AsyncClient(service.address, hedge_after=0.1) as client:
        result = await client.generate_images("a red square", seeds=[3])
        assert await asyncio.to_thread(service.let_go.wait, 5)
    assert [image.seed for image in result.images] == [3]
    assert len(service.requests) == 2


async def test_a_quick_answer_is_asked_for_once_and_nobody_hedges_unasked(service: Service) -> None:
    async with AsyncClient(service.address, hedge_after=20) as client:
        await client.generate_images("a red square")
        with Client(service.address) as blocking:
            blocking.with_options(hedge_after=20).generate_images("a red square")
            assert len(service.requests) == 2
            service.faults = [Hang()]
            with pytest.raises(DeadlineExceededError):
                blocking.generate_images("a red square", timeout=0.3)
    assert len(service.requests) == 3


@pytest.mark.parametrize("hedge_after", [0.0, 20.0])
async def test_what_is_refused_at_once_is_repeated_or_told_as_without(
    service: Service, hedge_after: float
) -> None:
    service.faults = [Refusal(grpc.StatusCode.UNAVAILABLE)]
    async with AsyncClient(service.address, hedge_after=hedge_after) as client:
        await client.generate_images("a red square")
        assert len(service.requests) == 2
    service.faults = [Refusal(grpc.StatusCode.NOT_FOUND)]
    with Client(service.address, hedge_after=hedge_after) as blocking, pytest.raises(NotFoundError):
        blocking.generate_images("a red square")


@pytest.mark.parametrize("first", ["fails", "answers"])
async def test_one_answer_is_enough_and_two_failures_are_one(first: str) -> None:
    started = 0

    async def answer() -> str:
        nonlocal started
        started += 1
        number = started
        await asyncio.sleep(0.1 if number == 1 else 0.2)
        if number == 1 and first == "fails":
            raise UnavailableError("gone")
        return f"answer {number}"

    assert await first_answer(answer, 0.02) == ("answer 2" if first == "fails" else "answer 1")
    assert started == 2

    async def fail() -> str:
        await asyncio.sleep(0.05)
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError):
        await first_answer(fail, 0.01)


@pytest.mark.parametrize("wrong", [-1.0, float("inf"), "soon", True])
def test_a_time_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(InvalidInput, match="hedge_after"):
        Client(hedge_after=wrong)
