"""The policy: who gets in, who goes next, who is too late. It knows no clock but what it is told.

* Nothing waits for company: whoever asks for a batch gets what there is, or, while other workers
  are idle too, an even part of it.
* A batch holds pictures of one bucket. Interactive requests go before batch jobs, which get one
  batch in twenty while both wait, so that they end some day. Within a class callers share evenly.
* A request whose deadline cannot be met with what waits already is refused when it comes. The
  prediction counts what fairness puts before it, not what merely came before it. A request that
  can no longer end in time is not begun.
* The queue holds so many pictures and so many bytes. When it is full, batch jobs make room for
  interactive requests, and whoever has most of it for whoever has less.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from server.engine.cost import CostModel, Spread
from server.engine.fairness import FairQueue
from server.engine.places import (
    Bucket,
    DeadlineOutOfReach,
    DeadlinePassed,
    DeadlineTooShort,
    Place,
    Priority,
    QueueFull,
    Share,
)

__all__ = ["Run", "Scheduler"]

# Of so many batches one is a batch job's while interactive requests wait as well.
_BATCH_TURN = 20
_MAX_PRICE = 16.0
_RETRY_SECONDS = (0.1, 30.0)
# How efficient a batch must at least be that is kept small for somebody's deadline.
_WORTH = 0.9
_SPARE_ENTRIES = 64
_LOOK_AGAIN = 0.001


@dataclass(eq=False, slots=True)
class Run:
    """A batch on its way.

    Attributes:
        bucket: what it draws.
        shares: whose pictures, in order.
        starts: when a worker will probably start on it.
        ends: when it will probably have ended.
        begun: whether a worker has started on it. Set in the worker's thread.
    """

    bucket: Bucket
    shares: list[Share]
    starts: float
    ends: float
    begun: bool = False

    @property
    def size(self) -> int:
        """How many pictures."""
        return sum(share.size for share in self.shares)

    @property
    def waiting(self) -> int:
        """How many of its pictures wait for a worker and are still wanted."""
        if self.begun:
            return 0
        return sum(share.size for share in self.shares if not share.place.given_up)


class Scheduler:
    """Decides what waits and what runs next.

    Args:
        workers: batches that run at the same time.
        room: pictures in a batch at most.
        queue_limit: pictures that may wait.
        byte_limit: bytes that requests may hold, from their arrival until they are delivered.
        tell: is told of a place in the queue that is lost, and why.

    Attributes:
        room: pictures in a batch at most.
        queued: pictures that are in no batch yet.
        held_bytes: bytes that requests hold.
        before: seconds from a batch being made up to its start, when a worker is free.
        after: seconds from a batch's end to its delivery.
    """

    def __init__(
        self,
        *,
        workers: int,
        room: int,
        queue_limit: int,
        byte_limit: int,
        tell: Callable[[Place, Exception], None],
    ) -> None:
        self._workers = workers
        self.room = room
        self._queue_limit = queue_limit
        self._byte_limit = byte_limit
        self._tell = tell
        self._queues = {priority: FairQueue(self._price) for priority in Priority}
        self._in_queue: set[Place] = set()
        self._inside: set[Place] = set()
        self._latest_starts: list[tuple[float, int, Place]] = []
        self._count = itertools.count()
        self._costs: dict[Bucket, CostModel] = {}
        self._runs: set[Run] = set()
        self._since_batch_turn = 0
        self.queued = 0
        self.held_bytes = 0
        self.before = Spread()
        self.after = Spread()

    @property
    def waiting(self) -> int:
        """Pictures that wait for a worker, those of batches that are made up included."""
        return self.queued + sum(run.waiting for run in self._runs)

    def cost(self, bucket: Bucket) -> CostModel:
        """Return what is known of a bucket's cost."""
        if bucket not in self._costs:
            self._costs[bucket] = CostModel()
        return self._costs[bucket]

    def in_flight(self, model: str) -> int:
        """Return how many places and batches there are of a model."""
        # Counted when somebody asks, which is seldom, and not at every request.
        places = sum(place.bucket.model == model for place in self._inside)
        return places + sum(run.bucket.model == model for run in self._runs)

    def forget(self, model: str) -> None:
        """Forget what a model's batches cost."""
        for bucket in [bucket for bucket in self._costs if bucket.model == model]:
            del self._costs[bucket]

    def offer(self, place: Place, now: float) -> None:
        """Take a place in.

        Raises:
            DeadlineTooShort: it could not end in time even alone.
            DeadlineOutOfReach: it could not end in time after what waits.
            QueueFull: there is no room for it.
        """
        self.forget_late(now)
        self._check_deadline(place, now)
        self._make_room(place)
        self._queues[place.priority].add(place)
        self._in_queue.add(place)
        self._inside.add(place)
        self.queued += place.pictures
        self.held_bytes += place.bytes
        if place.deadline is not None:
            self._watch(place, self._latest_start(place, now))

    def take(self, now: float) -> Run | None:
        """Make up the next batch, or None when nothing waits."""
        self.forget_late(now)
        starts = self._next_start(now)
        idle = max(1, self._workers - len(self._runs))
        room = min(self.room, math.ceil(self.queued / idle))

        # It is asked for every picture of a place again.
        found: dict[Place, float] = {}

        def largest(place: Place) -> float:
            if place not in found:
                found[place] = self._largest(place, starts, now)
            return found[place]

        shares: list[Share] = []
        for queue in self._order():
            shares = queue.take(room, largest)
            if shares:
                break
        if not shares:
            return None
        bucket = shares[0].place.bucket
        run = Run(bucket, shares, starts, starts)
        run.ends += self.cost(bucket).run(run.size)
        self._runs.add(run)
        for share in shares:
            self.queued -= share.size
            if share.place.waiting == 0:
                self._in_queue.discard(share.place)
        return run

    def occupy(self, bucket: Bucket, pictures: int, now: float) -> Run:
        """Take note of a batch that is nobody's, so that what comes behind it is told in time."""
        starts = self._next_start(now)
        run = Run(bucket, [], starts, starts + self.cost(bucket).run(pictures))
        self._runs.add(run)
        return run

    def _largest(self, place: Place, starts: float, now: float) -> float:
        """Return how large a batch may be for a place in it to end in time.

        A place that would make the batch much less efficient than the others could have it gets
        none: in an overload those that are nearly too late would otherwise make all batches small,
        and with them everyone too late.
        """
        if place.deadline is None:
            return float("inf")
        cost = self.cost(place.bucket)
        most = cost.largest(place.deadline - starts - self.after.upper, now)
        full = min(self.room, sum(q.pictures(place.bucket) for q in self._queues.values()))
        if most >= full:
            return most
        small = math.floor(most)
        return small if small * cost.run(full) >= _WORTH * full * cost.run(small) else 0.0

    def free_at(self, now: float) -> float:
        """Return when a worker will probably be free for another batch."""
        if len(self._runs) < self._workers:
            return now
        ends = sorted((run.ends for run in self._runs), reverse=True)
        return max(now, ends[self._workers - 1])

    def begin(self, run: Run, now: float) -> list[bool]:
        """Tell, for each share, whether it is still wanted. May be called from any thread."""
        run.begun = True
        cost = self.cost(run.bucket)
        ends = now + cost.run(run.size) * cost.trust(now)
        return [
            not share.place.given_up
            and (share.place.deadline is None or ends <= share.place.deadline)
            for share in run.shares
        ]

    def end(self, run: Run, now: float, *, pictures: int = 0, seconds: float = 0.0) -> None:
        """Learn of a batch that ended.

        Args:
            run: what `take` returned.
            now: when.
            pictures: how many were drawn; 0 when none were, which teaches nothing.
            seconds: what a worker took for them.
        """
        self._runs.discard(run)
        if pictures:
            self.cost(run.bucket).learn(pictures, seconds, now)
        # What runs behind it starts earlier or later than was thought.
        for other in self._runs:
            if other.starts >= run.ends:
                length = other.ends - other.starts
                other.starts = max(now, other.starts + now - run.ends)
                other.ends = other.starts + length

    def give_up(self, place: Place) -> None:
        """Forget what of a place still waits."""
        if place in self._in_queue:
            self._in_queue.discard(place)
            self._queues[place.priority].remove(place)
            self.queued -= place.waiting
        place.given_up = True

    def leave(self, place: Place) -> None:
        """Forget a place altogether: all is delivered, or nobody wants it. Twice is allowed."""
        self.give_up(place)
        if place in self._inside:
            self._inside.discard(place)
            self.held_bytes -= place.bytes

    def _order(self) -> list[FairQueue]:
        """Return the classes in the order in which they are asked for the next batch."""
        interactive, batch = self._queues[Priority.INTERACTIVE], self._queues[Priority.BATCH]
        if not (interactive and batch):
            return [interactive, batch]
        self._since_batch_turn += 1
        if self._since_batch_turn < _BATCH_TURN:
            return [interactive, batch]
        self._since_batch_turn = 0
        return [batch, interactive]

    def _price(self, bucket: Bucket) -> float:
        """Return what a picture costs beside one of the cheapest bucket."""
        cheapest = min(
            (self._each(b) for b, model in self._costs.items() if model.known), default=0.0
        )
        if cheapest <= 0 or not self.cost(bucket).known:
            return 1.0
        return min(max(self._each(bucket) / cheapest, 1.0), _MAX_PRICE)

    def _each(self, bucket: Bucket) -> float:
        """Return the seconds that a picture takes in a full batch."""
        return self.cost(bucket).run(self.room) / self.room

    def _next_start(self, now: float) -> float:
        """Return when a batch that is made up now will probably be started on."""
        return max(self.free_at(now), now + self.before.mean)

    def _alone(self, bucket: Bucket, pictures: int, now: float) -> float:
        """Return the seconds that so many pictures take when nothing else runs."""
        cost = self.cost(bucket)
        at_once = self.room * self._workers
        rounds = -(-pictures // at_once) - 1
        last = min(-(-(pictures - rounds * at_once) // self._workers), self.room)
        return rounds * cost.at_most(self.room, now) + cost.at_most(last, now) + self.after.upper

    def _check_deadline(self, place: Place, now: float) -> None:
        if place.deadline is None:
            return
        needed = self.before.mean + self._alone(place.bucket, place.pictures, now)
        if place.deadline <= now or now + needed > place.deadline:
            raise DeadlineTooShort(needed)
        ends = self.expected_end(place, now)
        if ends > place.deadline:
            raise DeadlineOutOfReach(_within(ends - place.deadline))

    def expected_end(self, place: Place, now: float) -> float:
        """Return when a place that is offered now would probably be delivered."""
        each = self._each(place.bucket)
        if each <= 0:
            return now
        own = each * place.pictures
        ahead = self._queues[place.priority].seconds_ahead(place.caller, own, self._each)
        if place.priority is Priority.BATCH:
            ahead += self._queues[Priority.INTERACTIVE].seconds(self._each)
        # With what is ahead it fills so many batches and ends with the last.
        filled = place.pictures + ahead / each
        rounds = math.ceil(filled / (self.room * self._workers) - 1e-9) - 1
        cost = self.cost(place.bucket)
        if rounds == 0:
            last = cost.run(min(filled / self._workers, self.room))
        else:
            last = cost.run(self.room)
        trust = cost.trust(now)
        # The errors of several batches add up, as far as they do not cancel out.
        margin = cost.margin * (1 + math.sqrt(rounds))
        seconds = (rounds * cost.run(self.room) + last + margin) * trust
        return self._next_start(now) + seconds + self.after.upper

    def _make_room(self, place: Place) -> None:
        # A request that is larger than all room is done when nothing else is there.
        if self.held_bytes and self.held_bytes + place.bytes > self._byte_limit:
            raise QueueFull(self.retry_seconds())
        while self.waiting and self.waiting + place.pictures > self._queue_limit:
            victim = self._victim(place)
            if victim is None:
                raise QueueFull(self.retry_seconds())
            self.leave(victim)
            self._tell(victim, QueueFull(self.retry_seconds()))

    def _victim(self, place: Place) -> Place | None:
        """Return who gives way to a place in a full queue, or None when nobody should."""
        jobs = self._queues[Priority.BATCH]
        if place.priority is Priority.INTERACTIVE and jobs:
            return jobs.newest_of_the_greediest()
        queue = self._queues[place.priority]
        victim = queue.newest_of_the_greediest()
        if victim is None:
            return None
        left = queue.held(victim.caller) - victim.waiting
        return victim if left >= queue.held(place.caller) + place.pictures else None

    def retry_seconds(self) -> float:
        """Return when what waits now will probably be done."""
        seconds = sum(queue.seconds(self._each) for queue in self._queues.values())
        if seconds <= 0:
            return 1.0
        return _within(seconds / self._workers)

    def forget_late(self, now: float) -> None:
        """Give up, and tell, what waits and can no longer be done in time."""
        starts = self._next_start(now)
        while self._latest_starts and self._latest_starts[0][0] <= starts:
            _, _, place = heapq.heappop(self._latest_starts)
            if place not in self._in_queue:
                continue
            if starts > self._latest_start(place, now):
                self.leave(place)
                self._tell(place, DeadlinePassed())
            else:
                # Some of it was drawn meanwhile, or drawing became cheaper.
                self._watch(place, max(self._latest_start(place, now), starts + _LOOK_AGAIN))

    def next_late(self) -> float | None:
        """Return when `forget_late` may have something to do if nothing else happens before."""
        return self._latest_starts[0][0] if self._latest_starts else None

    def _latest_start(self, place: Place, now: float) -> float:
        assert place.deadline is not None
        return place.deadline - self._alone(place.bucket, place.waiting, now)

    def _watch(self, place: Place, latest_start: float) -> None:
        if len(self._latest_starts) > 2 * len(self._in_queue) + _SPARE_ENTRIES:
            # What left long before its deadline must not be kept until then.
            self._latest_starts = [e for e in self._latest_starts if e[2] in self._in_queue]
            heapq.heapify(self._latest_starts)
        heapq.heappush(self._latest_starts, (latest_start, next(self._count), place))


def _within(seconds: float) -> float:
    low, high = _RETRY_SECONDS
    return min(max(seconds, low), high)
