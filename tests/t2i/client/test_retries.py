from __future__ import annotations

import pytest

from t2i.client.errors import (
    AlreadyExistsError,
    InternalError,
    ResourceExhaustedError,
    UnavailableError,
)
from t2i.client.retries import Attempts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def attempts(timeout: float = 1000.0, retries: int = 9, jitter: float = 0.0) -> Attempts:
    return Attempts(timeout, retries, clock=Clock(), jitter=lambda: jitter)


def test_waits_double_from_half_a_second_to_eight_seconds() -> None:
    tries = attempts()
    waits = [tries.wait_after(UnavailableError("away")) for _ in range(7)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_jitter_shortens_our_own_waits_and_lengthens_those_of_the_service() -> None:
    assert attempts(jitter=1.0).wait_after(UnavailableError("away")) == 0.375
    told = UnavailableError("away", retry_after=4.0)
    assert attempts(jitter=1.0).wait_after(told) == 5.0
    assert attempts().wait_after(told) == 4.0


@pytest.mark.parametrize(
    "error",
    [
        InternalError("fault"),
        ResourceExhaustedError("quota"),
        InternalError("", retry_after=1),
        AlreadyExistsError("another request's id", reason="REQUEST_ID_REUSED"),
        ResourceExhaustedError("late", reason="DEADLINE_OUT_OF_REACH", retry_after=0.1),
    ],
)
def test_what_would_fail_again_is_not_repeated(error: UnavailableError) -> None:
    with pytest.raises(type(error)) as caught:
        attempts().wait_after(error)
    assert caught.value is error


def test_no_wait_reaches_past_the_deadline() -> None:
    with pytest.raises(UnavailableError):
        attempts(timeout=0.5).wait_after(UnavailableError("away"))
    assert attempts(timeout=0.6).wait_after(UnavailableError("away")) == 0.5


def test_the_time_left_counts_down_to_zero() -> None:
    clock = Clock()
    tries = Attempts(10.0, 2, clock=clock)
    clock.now += 4
    assert tries.remaining == pytest.approx(6.0)
    clock.now += 40
    assert tries.remaining == 0.0


def test_a_full_service_is_asked_again_when_it_says() -> None:
    full = ResourceExhaustedError("full", reason="QUEUE_FULL", retry_after=2.0)
    assert attempts().wait_after(full) == 2.0
