"""What a batch will cost: a + b·n seconds for n pictures, fitted to the batches seen last.

A worker takes some time for a batch whatever its size (a) and some for each picture (b). Both are
fitted by least squares in which old batches count less and less. Three things keep it sound where
a plain fit goes astray: batches of one size only say nothing about b, which then stays what it
was; a single stall of the machine counts no more than a few times what was expected; and what is
known fades while no batch ends, and is forgotten at the next one, so that an estimate that became
too high, as in an overload, cannot refuse everything for long and never be put right.
"""

from __future__ import annotations

__all__ = ["CostModel", "Spread"]

# The newest batch counts 1, the one before 0.95 and so on: about twenty batches are remembered.
_KEEP = 0.95
# How much the slope known so far counts, in squared pictures.
_SLOPE_INERTIA = 0.5
# From the fifth batch on, one counts at most as four times what was expected of it.
_TRUSTED_AFTER = 5
_LARGEST_SURPRISE = 4.0
# As in TCP's retransmission timer (RFC 6298): the mean, and four times the mean deviation.
_DEVIATIONS = 4.0
_NEWEST = 0.125
# Of a usual batch's time, what is allowed at most for taking longer. On a machine whose speed comes
# and goes more would refuse what would usually be in time, and leave the workers idle: drawing in
# vain now and then is cheaper. (With times that vary by e^±0.6, and deadlines of 2.5 full batches,
# that draws 0.80 of capacity in time at 1.5 times it where four deviations draw 0.67.)
_LARGEST_MARGIN = 0.5
# How long what is known is fresh after the time of two batches, and when half of it is left then.
_FRESH_SECONDS = 0.5
_HALF_LIFE_SECONDS = 1.0


class Spread:
    """A running mean and how far values usually are from it."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    def learn(self, value: float) -> None:
        """Take in a value."""
        if self._mean is None:
            self._mean, self._deviation = value, value / 2
            return
        self._deviation += _NEWEST * (abs(value - self._mean) - self._deviation)
        self._mean += _NEWEST * (value - self._mean)

    @property
    def mean(self) -> float:
        """The mean; 0 before the first value."""
        return self._mean or 0.0

    @property
    def upper(self) -> float:
        """What a value will hardly exceed."""
        return self.mean + _DEVIATIONS * self._deviation


class CostModel:
    """Learns what batches of one bucket cost.

    Attributes:
        fixed: a, seconds a batch, 0 or more.
        slope: b, seconds a picture, 0 or more.
    """

    def __init__(self) -> None:
        self.fixed = 0.0
        self.slope = 0.0
        self._seen = 0
        self._weight = 0.0
        self._mean_n = 0.0
        self._mean_t = 0.0
        self._spread_n = 0.0
        self._together = 0.0
        self._deviation = 0.0
        self._learned_at = 0.0

    @property
    def known(self) -> bool:
        """Whether any batch was seen."""
        return self._seen > 0

    def learn(self, pictures: int, seconds: float, now: float) -> None:
        """Take in a batch.

        Args:
            pictures: its size, 1 or more.
            seconds: what it took, 0 or more.
            now: when it ended.
        """
        self._forget(self.trust(now))
        self._learned_at = now
        self._seen += 1
        if self._seen == 1:
            self.slope = seconds / pictures
        expected = self.run(pictures)
        if self._seen > _TRUSTED_AFTER:
            seconds = min(seconds, _LARGEST_SURPRISE * expected + 1e-3)
        # Means and products about the means, with weights that fall off (West, 1979).
        self._weight = _KEEP * self._weight + 1.0
        self._spread_n *= _KEEP
        self._together *= _KEEP
        off_n, off_t = pictures - self._mean_n, seconds - self._mean_t
        self._mean_n += off_n / self._weight
        self._mean_t += off_t / self._weight
        self._spread_n += off_n * (pictures - self._mean_n)
        self._together += off_n * (seconds - self._mean_t)
        slope = (self._together + _SLOPE_INERTIA * self.slope) / (self._spread_n + _SLOPE_INERTIA)
        self.slope = min(max(slope, 0.0), self._mean_t / self._mean_n)
        self.fixed = max(0.0, self._mean_t - self.slope * self._mean_n)
        if self._seen <= _TRUSTED_AFTER:
            # The line was still a guess: what it is off by now counts, not what it was.
            expected = self.run(pictures)
        self._deviation += _NEWEST * (abs(seconds - expected) - self._deviation)

    def _forget(self, trust: float) -> None:
        """Let what is not fresh any more count less than what is learned now.

        Nothing that ran in an overload may go on refusing what the machine can do after it.
        """
        if trust == 1.0:
            return
        self._weight = self._spread_n = self._together = 0.0
        self._deviation *= trust

    def run(self, pictures: float) -> float:
        """Return the seconds that a batch of so many pictures will probably take."""
        return self.fixed + self.slope * pictures if self._seen else 0.0

    def at_most(self, pictures: float, now: float) -> float:
        """Return the seconds that such a batch will hardly exceed, less when that is old news."""
        return (self.run(pictures) + self.margin) * self.trust(now)

    def largest(self, seconds: float, now: float) -> float:
        """Return the pictures that a batch may have to end within so many seconds.

        Returns:
            Negative when not even an empty one would; infinity when the size does not matter.
        """
        room = seconds - (self.fixed + self.margin) * self.trust(now)
        slope = self.slope * self.trust(now)
        if room < 0:
            return -1.0
        return room / slope if slope > 0 else float("inf")

    @property
    def margin(self) -> float:
        """Seconds by which a batch may well take longer than expected."""
        return min(_DEVIATIONS * self._deviation, _LARGEST_MARGIN * self._mean_t)

    def trust(self, now: float) -> float:
        """Return how much of the estimate to believe, 0 to 1: it fades while nothing runs."""
        if not self._seen:
            return 0.0
        age = now - self._learned_at - _FRESH_SECONDS - 2.0 * self._mean_t
        return 1.0 if age <= 0 else 0.5 ** (age / _HALF_LIFE_SECONDS)
