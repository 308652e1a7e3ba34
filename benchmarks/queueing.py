"""How the server's policy for its queue holds up beside two simpler ones, on simulated time.

    python -m benchmarks.queueing --json
    python -m benchmarks.queueing --json --plot queueing.png

Requests for one picture come at random (Poisson) at a share of what the worker can draw in full
batches; each is worth nothing after its deadline. Three policies serve the same requests:

* `ours`: `server.engine.scheduler.Scheduler` itself, the code that the server runs.
* `fifo`: first come, first served; a free worker takes what waits. Knows no deadlines, no callers.
* `delay`: the same, and a batch that is not full waits for company until its oldest request has
  waited `--delay-ms`.

For each load: the median and the 99th percentile of the time that requests took that were
answered in time; goodput, the pictures drawn in time beside what the worker could draw; the share
of requests refused when they came; the share of drawn pictures that came too late for anybody. And
once with two callers, of which the modest one asks for its half of the worker and the greedy one
for five times as much: what part of its half the modest one got. Prints JSON.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from server.engine.places import Bucket, DeadlineOutOfReach, DeadlineTooShort, Place, QueueFull
from server.engine.scheduler import Run, Scheduler

LOADS = (0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
BUCKET = Bucket("simulated", "text")


class Policy(Protocol):
    """Decides what waits and what runs next."""

    def offer(self, place: Place, now: float) -> bool:
        """Take a request in, or refuse it."""

    def take(self, now: float) -> tuple[object, list[Place]] | None:
        """Return the next batch."""

    def look_again(self, now: float) -> float | None:
        """Return when there may be a batch though nothing else happens."""

    def ended(self, batch: object, now: float, pictures: int, seconds: float) -> None:
        """Learn that a batch has ended."""

    def abandoned(self, place: Place) -> None:
        """Learn that nobody waits for a request any more."""


class Ours:
    """The server's own policy."""

    def __init__(self, worker: Worker, queue_limit: int = 256) -> None:
        self._scheduler = Scheduler(
            workers=1,
            room=worker.room,
            queue_limit=queue_limit,
            byte_limit=1,
            tell=lambda place, error: None,
        )
        # What a server measures before it serves.
        for size in (1, 1, worker.room, worker.room):
            self._scheduler.cost(BUCKET).learn(size, worker.seconds(size), 0.0)

    def offer(self, place: Place, now: float) -> bool:
        """Take a request in, or refuse it."""
        try:
            self._scheduler.offer(place, now)
        except (QueueFull, DeadlineOutOfReach, DeadlineTooShort):
            return False
        return True

    def take(self, now: float) -> tuple[object, list[Place]] | None:
        """Return the next batch."""
        run = self._scheduler.take(now)
        if run is None:
            return None
        self._scheduler.begin(run, now)
        return run, [share.place for share in run.shares]

    def look_again(self, now: float) -> float | None:
        """Return None: what it has it gives at once."""
        return None

    def ended(self, batch: object, now: float, pictures: int, seconds: float) -> None:
        """Learn that a batch has ended."""
        assert isinstance(batch, Run)
        self._scheduler.end(batch, now, pictures=pictures, seconds=seconds)
        for share in batch.shares:
            self._scheduler.leave(share.place)

    def abandoned(self, place: Place) -> None:
        """Forget a request that nobody waits for."""
        self._scheduler.leave(place)


class Fifo:
    """First come, first served; with a delay, a batch that is not full waits for company."""

    def __init__(self, worker: Worker, delay: float = 0.0) -> None:
        self._room = worker.room
        self._delay = delay
        self._waiting: deque[Place] = deque()

    def offer(self, place: Place, now: float) -> bool:
        """Take a request in."""
        self._waiting.append(place)
        return True

    def take(self, now: float) -> tuple[object, list[Place]] | None:
        """Return the next batch."""
        if not self._waiting or (self.look_again(now) or now) > now:
            return None
        size = min(self._room, len(self._waiting))
        return None, [self._waiting.popleft() for _ in range(size)]

    def look_again(self, now: float) -> float | None:
        """Return when the oldest request has waited long enough."""
        if not self._delay or not self._waiting or len(self._waiting) >= self._room:
            return None
        return self._waiting[0].arrived + self._delay

    def ended(self, batch: object, now: float, pictures: int, seconds: float) -> None:
        """Learn nothing."""

    def abandoned(self, place: Place) -> None:
        """Keep it: such a queue does not know who still waits."""


class Worker:
    """Draws n pictures in about a + b·n seconds.

    Args:
        fixed: a.
        each: b.
        room: pictures in a batch at most.
        noise: standard deviation of the logarithm of the time.
        seed: of the noise.
    """

    def __init__(self, fixed: float, each: float, room: int, noise: float, seed: int) -> None:
        self.fixed, self.each, self.room, self.noise = fixed, each, room, noise
        self._chance = random.Random(seed)

    @property
    def capacity(self) -> float:
        """Pictures a second in full batches."""
        return self.room / (self.fixed + self.each * self.room)

    def seconds(self, pictures: int) -> float:
        """Return what a batch takes this time."""
        return (self.fixed + self.each * pictures) * self._chance.lognormvariate(
            -self.noise * self.noise / 2, self.noise
        )


@dataclass(slots=True)
class Outcome:
    """What became of the requests of a simulation: each list holds one entry a request."""

    latencies: dict[str, list[float]]
    asked: int = 0
    refused: int = 0
    drawn: int = 0
    in_time: int = 0


def arrivals(rates: dict[str, float], seconds: float, seed: int) -> Iterator[tuple[float, str]]:
    """Yield times and callers of requests, in order."""

    def of(caller: str, rate: float) -> Iterator[tuple[float, str]]:
        chance, now = random.Random(f"{seed} {caller}"), 0.0
        while (now := now + chance.expovariate(rate)) < seconds:
            yield now, caller

    return heapq.merge(*(of(caller, rate) for caller, rate in rates.items()))


def simulate(
    policy: Policy,
    worker: Worker,
    asks: Iterator[tuple[float, str]],
    *,
    deadline: float,
    seconds: float,
) -> Outcome:
    """Let one worker serve requests by a policy for so long; one picture a request."""
    outcome = Outcome({})
    order = itertools.count()
    # Time, order, what happens.
    events: list[tuple[float, int, Callable[[float], None]]] = []
    busy = False

    def at(when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(events, (when, next(order), what))

    def arrive(caller: str) -> Callable[[float], None]:
        def happen(now: float) -> None:
            place = Place(BUCKET, 1, caller, arrived=now, deadline=now + deadline)
            outcome.asked += 1
            if policy.offer(place, now):
                at(now + deadline, lambda _: policy.abandoned(place))
            else:
                outcome.refused += 1
            following = next(asks, None)
            if following is not None:
                at(following[0], arrive(following[1]))
            look(now)

        return happen

    def look(now: float) -> None:
        nonlocal busy
        if busy:
            return
        batch = policy.take(now)
        if batch is None:
            again = policy.look_again(now)
            if again is not None:
                at(again, look)
            return
        busy = True
        seconds = worker.seconds(len(batch[1]))
        at(now + seconds, lambda now: end(now, batch, seconds))

    def end(now: float, batch: tuple[object, list[Place]], seconds: float) -> None:
        nonlocal busy
        busy = False
        outcome.drawn += len(batch[1])
        for place in batch[1]:
            if place.deadline is not None and now <= place.deadline:
                outcome.in_time += 1
                outcome.latencies.setdefault(place.caller, []).append(now - place.arrived)
        policy.ended(batch[0], now, len(batch[1]), seconds)
        look(now)

    first = next(asks)
    at(first[0], arrive(first[1]))
    while events and events[0][0] <= seconds:
        when, _, what = heapq.heappop(events)
        what(when)
    return outcome


def measure(
    make: Callable[[Worker], Policy], options: argparse.Namespace, load: float
) -> dict[str, float]:
    """Return what one policy makes of one load."""
    worker = _worker(options)
    rates = {"all": load * worker.capacity}
    asks = arrivals(rates, options.seconds, options.seed)
    outcome = simulate(
        make(worker), worker, asks, deadline=options.deadline_ms / 1e3, seconds=options.seconds
    )
    taken = sorted(outcome.latencies.get("all", [])) or [float("nan")]
    return {
        "load": load,
        "p50_ms": statistics.median(taken) * 1e3,
        "p99_ms": taken[int(0.99 * (len(taken) - 1))] * 1e3,
        "goodput": outcome.in_time / (worker.capacity * options.seconds),
        "refused": outcome.refused / outcome.asked,
        "drawn_too_late": 1 - outcome.in_time / max(1, outcome.drawn),
    }


def share_of_the_modest(make: Callable[[Worker], Policy], options: argparse.Namespace) -> float:
    """Return what part of its fair half a caller gets beside one who asks for five times that."""
    worker = _worker(options)
    half = worker.capacity / 2
    asks = arrivals({"modest": half, "greedy": 5 * half}, options.seconds, options.seed)
    outcome = simulate(
        make(worker), worker, asks, deadline=options.deadline_ms / 1e3, seconds=options.seconds
    )
    return len(outcome.latencies.get("modest", [])) / (half * options.seconds)


def _worker(options: argparse.Namespace) -> Worker:
    return Worker(
        options.fixed_ms / 1e3, options.each_ms / 1e3, options.batch, options.noise, options.seed
    )


def draw(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Write charts of all policies over all loads."""
    from training.plots import curves, line_chart, panels, save_plot

    def chart(key: str, title: str, *, log: bool = False) -> Image.Image:
        lines = {
            name: ([row["load"] for row in rows], [row[key] for row in rows])
            for name, rows in results.items()
        }
        return line_chart(curves(lines), title=title, x_label="load, 1 = capacity", log_y=log)

    charts = [
        chart("goodput", "goodput, 1 = capacity"),
        chart("p50_ms", "median of replies in time, ms", log=True),
        chart("p99_ms", "99th percentile of replies in time, ms", log=True),
        chart("drawn_too_late", "share of drawn pictures that came too late"),
    ]
    save_plot(panels(charts), path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON; it always does")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write charts as PNG as well")
    parser.add_argument("--fixed-ms", type=float, default=8.0, help="what any batch takes")
    parser.add_argument("--each-ms", type=float, default=0.5, help="what each picture adds")
    parser.add_argument("--batch", type=int, default=16, help="pictures in a batch")
    parser.add_argument("--noise", type=float, default=0.05, help="deviation of log(time)")
    parser.add_argument("--deadline-ms", type=float, default=200.0, help="of every request")
    parser.add_argument("--delay-ms", type=float, default=5.0, help="of the policy `delay`")
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated, for each load")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="shares of capacity")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    policies: dict[str, Callable[[Worker], Policy]] = {
        "ours": Ours,
        "fifo": Fifo,
        "delay": lambda worker: Fifo(worker, options.delay_ms / 1e3),
    }
    results = {
        name: [measure(make, options, load) for load in options.loads]
        for name, make in policies.items()
    }
    shares = {name: share_of_the_modest(make, options) for name, make in policies.items()}
    if options.plot is not None:
        draw(results, options.plot)
    told = {
        "benchmark": "queueing",
        "capacity_per_second": _worker(options).capacity,
        "full_batch_ms": options.fixed_ms + options.each_ms * options.batch,
        "deadline_ms": options.deadline_ms,
        "delay_ms": options.delay_ms,
        "seconds": options.seconds,
        "seed": options.seed,
        "policies": {
            name: [{key: round(value, 4) for key, value in row.items()} for row in rows]
            for name, rows in results.items()
        },
        "share_of_the_modest": {name: round(share, 4) for name, share in shares.items()},
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
