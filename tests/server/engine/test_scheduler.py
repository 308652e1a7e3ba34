"""The policy on a clock that the tests set."""

from __future__ import annotations

import pytest

from server.engine.places import (
    Bucket,
    DeadlineOutOfReach,
    DeadlinePassed,
    DeadlineTooShort,
    Place,
    Priority,
    QueueFull,
)
from server.engine.scheduler import Scheduler

BUCKET = Bucket("m", "text")
EACH = 0.010


class Told(list[tuple[Place, Exception]]):
    def __call__(self, place: Place, error: Exception) -> None:
        self.append((place, error))


def scheduler(
    told: Told | None = None,
    *,
    room: int = 4,
    workers: int = 1,
    queue_limit: int = 100,
    byte_limit: int = 1000,
    fixed: float = 0.0,
) -> Scheduler:
    """A scheduler that knows: a batch takes `fixed` and 10 ms a picture."""
    made = Scheduler(
        workers=workers,
        room=room,
        queue_limit=queue_limit,
        byte_limit=byte_limit,
        tell=told if told is not None else Told(),
    )
    for _ in range(60):
        for size in (1, room):
            made.cost(BUCKET).learn(size, fixed + EACH * size, 0.0)
    return made


def ask(pictures: int = 1, *, caller: str = "a", deadline: float | None = None, at: float = 0.0,
        priority: Priority = Priority.INTERACTIVE, held: int = 0) -> Place:  # fmt: skip
    return Place(BUCKET, pictures, caller, priority, at, deadline, held)


def sizes(made: Scheduler, now: float = 0.0) -> list[int]:
    run = made.take(now)
    return [] if run is None else [share.size for share in run.shares]


def test_a_request_that_an_idle_server_could_not_do_in_time_is_refused_with_what_it_takes() -> None:
    made = scheduler()
    with pytest.raises(DeadlineTooShort) as refusal:
        made.offer(ask(8, deadline=0.070), 0.0)
    assert refusal.value.needed_seconds == pytest.approx(0.080, rel=0.05)
    made.offer(ask(8, deadline=0.090), 0.0)


def test_a_request_that_would_be_late_after_what_waits_is_refused_with_when_to_come_back() -> None:
    made = scheduler()
    for _ in range(10):
        made.offer(ask(4, deadline=10.0), 0.0)
    with pytest.raises(DeadlineOutOfReach) as refusal:
        made.offer(ask(4, deadline=0.240), 0.0)
    assert refusal.value.retry_seconds == pytest.approx(0.200, rel=0.1)
    assert made.waiting == 40
    made.offer(ask(4, deadline=0.480), 0.0)


def test_what_runs_already_counts_for_a_new_deadline() -> None:
    made = scheduler()
    made.offer(ask(4), 0.0)
    made.take(0.0)
    with pytest.raises(DeadlineOutOfReach):
        made.offer(ask(4, deadline=0.060), 0.010)
    made.offer(ask(4, deadline=0.090), 0.010)


def test_a_modest_caller_is_not_refused_for_anothers_queue() -> None:
    made = scheduler()
    for _ in range(20):
        made.offer(ask(4, caller="greedy"), 0.0)
    made.offer(ask(1, caller="modest", deadline=0.060), 0.0)
    with pytest.raises(DeadlineOutOfReach):
        made.offer(ask(1, caller="greedy", deadline=0.060), 0.0)


def test_what_cannot_end_in_time_any_more_is_told_and_never_begun() -> None:
    made = scheduler(told := Told())
    made.offer(place := ask(4, deadline=0.100), 0.0)
    assert made.take(0.070) is None
    assert made.waiting == 0
    assert [(p, type(e)) for p, e in told] == [(place, DeadlinePassed)]


def test_a_request_is_told_as_soon_as_it_is_lost() -> None:
    made = scheduler(told := Told())
    made.offer(ask(4, deadline=0.100), 0.0)
    late = made.next_late()
    assert late == pytest.approx(0.060, abs=0.002)
    made.forget_late(late - 0.005)
    assert not told
    made.forget_late(late + 0.001)
    assert len(told) == 1


def test_a_batch_stays_small_for_a_deadline_when_that_costs_nothing() -> None:
    made = scheduler()
    made.offer(ask(1, deadline=0.025), 0.0)
    made.offer(ask(3, caller="b"), 0.0)
    assert sum(sizes(made)) == 2


def test_a_batch_is_not_made_inefficient_for_one_that_is_nearly_late() -> None:
    made = scheduler(fixed=0.100, room=16)
    made.offer(tight := ask(1, deadline=0.130), 0.0)
    for n in range(15):
        made.offer(ask(1, caller=f"{n}"), 0.0)
    run = made.take(0.0)
    assert run is not None
    assert run.size == 15
    assert tight.taken == 0


def test_a_worker_leaves_out_what_was_cancelled_or_became_too_late_since() -> None:
    made = scheduler()
    for place in (places := [ask(1), ask(1), ask(1, deadline=0.060)]):
        made.offer(place, 0.0)
    run = made.take(0.0)
    assert run is not None
    made.leave(places[0])
    assert made.begin(run, 0.020) == [False, True, True]
    assert made.begin(run, 0.050) == [False, True, False]


def test_cancelling_frees_the_place_at_once() -> None:
    made = scheduler(queue_limit=16)
    made.offer(place := ask(16, held=1000), 0.0)
    with pytest.raises(QueueFull):
        made.offer(ask(1), 0.0)
    made.leave(place)
    made.leave(place)
    assert (made.waiting, made.held_bytes) == (0, 0)
    made.offer(ask(16, held=1000), 0.0)


def test_bytes_are_held_until_the_request_leaves() -> None:
    made = scheduler()
    made.offer(place := ask(4, held=900), 0.0)
    run = made.take(0.0)
    assert run is not None
    made.end(run, 0.040, pictures=4, seconds=0.040)
    with pytest.raises(QueueFull):
        made.offer(ask(1, held=101), 0.040)
    made.leave(place)
    made.offer(ask(1, held=101), 0.040)


def test_in_a_full_queue_the_greediest_gives_way_to_whoever_has_less() -> None:
    made = scheduler(told := Told(), queue_limit=32)
    greedy = [ask(8, caller="greedy", at=n) for n in range(4)]
    for place in greedy:
        made.offer(place, 0.0)
    made.offer(ask(8, caller="modest"), 0.0)
    assert [(p, type(e)) for p, e in told] == [(greedy[3], QueueFull)]
    made.offer(ask(8, caller="modest"), 0.0)
    with pytest.raises(QueueFull):
        made.offer(ask(8, caller="modest"), 0.0)
    assert made.waiting == 32


def test_interactive_requests_go_before_batch_jobs_and_push_them_out() -> None:
    made = scheduler(told := Told(), queue_limit=16)
    jobs = [ask(8, caller="job", priority=Priority.BATCH, at=n) for n in range(2)]
    for job in jobs:
        made.offer(job, 0.0)
    made.offer(first := ask(4, caller="person"), 0.0)
    assert [p for p, _ in told] == [jobs[1]]
    run = made.take(0.0)
    assert run is not None
    assert [share.place for share in run.shares] == [first]
    with pytest.raises(QueueFull):
        made.offer(ask(16, caller="other", priority=Priority.BATCH), 0.0)


def test_batch_jobs_get_one_batch_in_twenty_while_people_ask() -> None:
    made = scheduler(queue_limit=1000)
    for _ in range(100):
        made.offer(ask(4), 0.0)
        made.offer(ask(4, priority=Priority.BATCH), 0.0)
    served = []
    for _ in range(80):
        run = made.take(0.0)
        assert run is not None
        served.append(run.shares[0].place.priority)
        made.end(run, 0.0)
    assert served.count(Priority.BATCH) == 4


def test_a_batch_job_waits_for_the_interactive_requests_in_its_prediction() -> None:
    made = scheduler()
    for _ in range(5):
        made.offer(ask(4), 0.0)
    with pytest.raises(DeadlineOutOfReach):
        made.offer(ask(4, caller="job", priority=Priority.BATCH, deadline=0.200), 0.0)
    made.offer(ask(4, caller="person", deadline=0.200), 0.0)


def test_two_workers_halve_the_wait() -> None:
    one, two = scheduler(), scheduler(workers=2)
    for made in (one, two):
        for _ in range(10):
            made.offer(ask(4), 0.0)
    late = ask(4, deadline=0.300)
    with pytest.raises(DeadlineOutOfReach):
        one.offer(late, 0.0)
    two.offer(late, 0.0)


def test_a_batch_that_ends_early_or_late_moves_what_runs_behind_it() -> None:
    made = scheduler()
    made.offer(ask(8), 0.0)
    first, second = made.take(0.0), made.take(0.0)
    assert first is not None and second is not None
    assert (second.starts, second.ends) == pytest.approx((0.040, 0.080), rel=0.02)
    made.end(first, 0.060, pictures=4, seconds=0.060)
    assert (second.starts, second.ends) == pytest.approx((0.060, 0.100), rel=0.02)
    assert made.free_at(0.060) == second.ends


def test_an_estimate_that_is_far_too_high_is_tried_again_after_a_while() -> None:
    made = Scheduler(workers=1, room=4, queue_limit=16, byte_limit=16, tell=Told())
    made.cost(BUCKET).learn(1, 30.0, 0.0)
    with pytest.raises(DeadlineTooShort):
        made.offer(ask(1, deadline=2.0), 1.0)
    made.offer(ask(1, deadline=102.0), 100.0)
    run = made.take(100.0)
    assert run is not None
    assert made.begin(run, 100.0) == [True]


def test_requests_that_are_done_are_not_kept_until_their_deadlines() -> None:
    made = scheduler()
    for n in range(1000):
        made.offer(place := ask(1, deadline=1e6), float(n))
        made.leave(place)
    assert len(made._latest_starts) < 100


def test_a_request_larger_than_all_room_is_taken_when_nothing_else_is_there() -> None:
    made = scheduler(queue_limit=16, byte_limit=100)
    made.offer(place := ask(32, held=200), 0.0)
    with pytest.raises(QueueFull):
        made.offer(ask(1), 0.0)
    made.leave(place)
    assert (made.waiting, made.held_bytes) == (0, 0)


def test_idle_workers_take_even_parts_of_what_waits() -> None:
    made = scheduler(room=8, workers=4)
    made.offer(ask(6), 0.0)
    assert [sizes(made) for _ in range(4)] == [[2], [2], [1], [1]]
    assert made.queued == 0


def test_the_last_worker_to_be_idle_takes_a_full_batch() -> None:
    made = scheduler(room=4, workers=2)
    made.offer(ask(3), 0.0)
    assert sizes(made) == [2]
    made.offer(ask(9), 0.0)
    assert sizes(made) == [1, 3]
    assert sizes(made) == [4], "the batch ahead is full as well"
