"""A queue that callers share evenly: deficit round-robin, picture by picture.

Every caller with something in the queue has a turn after the other. A turn adds one to what the
caller may spend, and it spends on pictures in the order of its requests; a picture costs 1, or more
in a bucket whose pictures take longer to draw. What a turn leaves is kept for the next one. So with
two callers that always ask for more, each gets half of the workers' time, however much either asks
for (Shreedhar and Varghese, 1996). A caller that asks for little never waits behind the many
requests of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from server.engine.places import Bucket, Place, Share

__all__ = ["FairQueue"]

_QUANTUM = 1.0


class _Flow:
    """What one caller has in the queue, by bucket, each in the order of arrival."""

    def __init__(self) -> None:
        self.credit = 0.0
        # Dictionaries as ordered sets: the oldest is found, and any is removed, at once.
        self.places: dict[Bucket, dict[Place, None]] = {}
        # How many pictures wait.
        self.pictures: dict[Bucket, int] = {}

    def add(self, place: Place) -> None:
        self.places.setdefault(place.bucket, {})[place] = None
        self.pictures[place.bucket] = self.pictures.get(place.bucket, 0) + place.waiting

    def remove(self, place: Place, waiting: int) -> None:
        of_bucket = self.places[place.bucket]
        del of_bucket[place]
        self.pictures[place.bucket] -= waiting
        if not of_bucket:
            del self.places[place.bucket], self.pictures[place.bucket]

    def oldest_bucket(self) -> Bucket:
        return min(self.places, key=lambda bucket: next(iter(self.places[bucket])).arrived)


class FairQueue:
    """Places of one priority class.

    Args:
        price: what a picture of a bucket costs, 1 or more.
    """

    def __init__(self, price: Callable[[Bucket], float]) -> None:
        self._price = price
        # In the order of their turns.
        self._flows: dict[str, _Flow] = {}

    def __bool__(self) -> bool:
        return bool(self._flows)

    def __iter__(self) -> Iterator[Place]:
        for flow in self._flows.values():
            for places in flow.places.values():
                yield from places

    def add(self, place: Place) -> None:
        """Put a place at the end of its caller's."""
        self._flows.setdefault(place.caller, _Flow()).add(place)

    def remove(self, place: Place) -> None:
        """Take out a place, with all of its pictures that wait, if it is in."""
        flow = self._flows.get(place.caller)
        if flow is not None and place in flow.places.get(place.bucket, {}):
            self._drop(place, place.waiting)

    def take(self, room: int, largest: Callable[[Place], float]) -> list[Share]:
        """Take the pictures of the next batch out.

        Args:
            room: pictures in a batch at most.
            largest: how large a batch may be for a place to end in time in it.

        Returns:
            Shares of places of one bucket, `room` pictures or fewer; empty when there are none.
        """
        shares: dict[Place, int] = {}
        bucket: Bucket | None = None
        size = 0
        turned: dict[str, None] = {}
        while size < room:
            anyone = False
            for caller in list(self._flows):
                flow = self._flows[caller]
                wanted = bucket or flow.oldest_bucket()
                place = _first(flow.places.get(wanted, {}), size, shares, largest)
                if place is None:
                    continue
                anyone = True
                turned.pop(caller, None)
                turned[caller] = None
                flow.credit += _QUANTUM
                price = self._price(wanted)
                if flow.credit < price:
                    continue
                flow.credit -= price
                bucket, size = wanted, size + 1
                room = min(room, max(size, int(min(largest(place), room))))
                shares[place] = shares.get(place, 0) + 1
                flow.pictures[wanted] -= 1
                if shares[place] == place.waiting:
                    self._drop(place, 0)
                if size >= room:
                    break
            if not anyone:
                break
        # Who had a turn goes behind those who had none, the last one last.
        for caller in turned:
            if caller in self._flows:
                self._flows[caller] = self._flows.pop(caller)
        return [_spend(place, count) for place, count in shares.items()]

    def seconds_ahead(self, caller: str, own: float, seconds: Callable[[Bucket], float]) -> float:
        """Return the work, in seconds, that is done before a new request of a caller.

        Args:
            caller: whose request it is.
            own: seconds that the request itself takes.
            seconds: what a picture of a bucket takes in a full batch.
        """
        waiting = {
            name: sum(seconds(bucket) * count for bucket, count in flow.pictures.items())
            for name, flow in self._flows.items()
        }
        mine = waiting.pop(caller, 0.0)
        return mine + sum(min(other, mine + own) for other in waiting.values())

    def seconds(self, seconds: Callable[[Bucket], float]) -> float:
        """Return the work that waits, in seconds."""
        return sum(
            seconds(bucket) * count
            for flow in self._flows.values()
            for bucket, count in flow.pictures.items()
        )

    def pictures(self, bucket: Bucket) -> int:
        """Return how many pictures of a bucket wait."""
        return sum(flow.pictures.get(bucket, 0) for flow in self._flows.values())

    def held(self, caller: str) -> int:
        """Return how many pictures of a caller wait."""
        flow = self._flows.get(caller)
        return 0 if flow is None else sum(flow.pictures.values())

    def newest_of_the_greediest(self) -> Place | None:
        """Return the newest place that is not begun of the caller with most pictures waiting."""
        for caller in sorted(self._flows, key=self.held, reverse=True):
            fresh = [p for ps in self._flows[caller].places.values() for p in ps if not p.taken]
            if fresh:
                return max(fresh, key=lambda place: place.arrived)
        return None

    def _drop(self, place: Place, waiting: int) -> None:
        flow = self._flows[place.caller]
        flow.remove(place, waiting)
        if not flow.places:
            del self._flows[place.caller]


def _first(
    places: dict[Place, None],
    size: int,
    shares: dict[Place, int],
    largest: Callable[[Place], float],
) -> Place | None:
    """Return the oldest place that can give one more picture to a batch of this size."""
    for place in places:
        if largest(place) >= size + 1 and shares.get(place, 0) < place.waiting:
            return place
    return None


def _spend(place: Place, count: int) -> Share:
    start = place.taken
    place.taken += count
    return Share(place, start, place.taken)
