from __future__ import annotations

import pytest

from server.engine.fairness import FairQueue
from server.engine.places import Bucket, Place

SMALL, LARGE = Bucket("m", "text"), Bucket("m", "label")


def ask(caller: str, pictures: int = 1, *, at: float = 0.0, bucket: Bucket = SMALL) -> Place:
    return Place(bucket, pictures, caller, arrived=at)


def queue_of(*places: Place, prices: dict[Bucket, float] | None = None) -> FairQueue:
    queue = FairQueue(lambda bucket: (prices or {}).get(bucket, 1.0))
    for place in places:
        queue.add(place)
    return queue


def whatever(place: Place) -> float:
    return float("inf")


def taken(queue: FairQueue, room: int) -> list[str]:
    return [share.place.caller for share in queue.take(room, whatever) for _ in range(share.size)]


def test_two_callers_get_half_each_however_much_one_asks_for() -> None:
    greedy = [ask("greedy", 16, at=n) for n in range(50)]
    modest = [ask("modest", 1, at=100 + n) for n in range(40)]
    queue = queue_of(*greedy, *modest)
    served = [caller for _ in range(10) for caller in taken(queue, 8)]
    assert served.count("modest") == served.count("greedy") == 40


@pytest.mark.parametrize("room", [1, 2, 3, 7])
def test_the_shares_are_even_when_a_batch_is_smaller_than_the_number_of_callers(room: int) -> None:
    queue = queue_of(*[ask(f"{n}", 16) for n in range(5) for _ in range(10)])
    served = [caller for _ in range(105 // room) for caller in taken(queue, room)]
    counts = [served.count(f"{n}") for n in range(5)]
    assert max(counts) - min(counts) <= 1


def test_a_lone_caller_gets_the_whole_batch() -> None:
    assert taken(queue_of(ask("a", 16)), 8) == ["a"] * 8


def test_a_caller_is_served_in_the_order_in_which_it_asked() -> None:
    first, second = ask("a", 3, at=0), ask("a", 3, at=1)
    shares = queue_of(first, second).take(4, whatever)
    assert [(s.place, s.start, s.stop) for s in shares] == [(first, 0, 3), (second, 0, 1)]


def test_a_batch_holds_one_bucket_and_who_was_left_out_is_next() -> None:
    queue = queue_of(ask("a"), ask("b", bucket=LARGE), ask("c"))
    assert taken(queue, 8) == ["a", "c"]
    queue.add(ask("a"))
    assert taken(queue, 8) == ["b"]
    assert taken(queue, 8) == ["a"]


def test_pictures_that_take_longer_cost_more_turns() -> None:
    places = [ask("dear", 16, bucket=LARGE) for _ in range(20)]
    places += [ask("cheap", 16) for _ in range(40)]
    queue = queue_of(*places, prices={LARGE: 4.0})
    served = [caller for _ in range(100) for caller in taken(queue, 1)]
    assert served.count("cheap") == 4 * served.count("dear")


def test_what_is_removed_is_never_taken_and_counts_no_more() -> None:
    gone, kept = ask("a", 5), ask("a", 2)
    queue = queue_of(gone, kept)
    queue.remove(gone)
    queue.remove(gone)
    assert queue.held("a") == queue.pictures(SMALL) == 2
    assert taken(queue, 8) == ["a", "a"]
    assert not queue


def test_who_needs_a_small_batch_keeps_it_small_and_who_cannot_join_waits() -> None:
    tight, loose = ask("a", 1), ask("b", 9)
    queue = queue_of(tight, loose)
    shares = queue.take(8, lambda place: 3.0 if place is tight else float("inf"))
    assert sum(share.size for share in shares) == 3
    queue.add(hopeless := ask("c"))
    shares = queue.take(8, lambda place: 0.5 if place is hopeless else float("inf"))
    assert [share.place for share in shares] == [loose]
    assert queue.held("c") == 1


def test_only_a_fair_part_of_anothers_work_goes_before_a_new_request() -> None:
    queue = queue_of(ask("greedy", 16), ask("greedy", 16), ask("modest", 1))
    assert queue.seconds_ahead("modest", 1.0, lambda _: 1.0) == 1 + 2
    assert queue.seconds_ahead("new", 3.0, lambda _: 1.0) == 3 + 1
    assert queue.seconds_ahead("greedy", 1.0, lambda _: 1.0) == 32 + 1


def test_the_greediest_caller_gives_its_newest_request_first() -> None:
    newest = ask("greedy", 4, at=9)
    queue = queue_of(ask("greedy", 4, at=1), newest, ask("modest", 2, at=10))
    assert queue.newest_of_the_greediest() is newest
