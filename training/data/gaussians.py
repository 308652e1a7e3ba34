"""Two Gaussians whose divergences are known, to hold bounds and estimates against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.mixtures import DEFAULT_POINTS, generator
from training.data.samples import SampleData, fingerprint_of

Divergence = Literal[
    "kl", "reverse-kl", "pearson", "neyman", "squared-hellinger", "jensen-shannon", "gan"
]
DIVERGENCES: tuple[Divergence, ...] = get_args(Divergence)

# Half-width in deviations, and points a deviation, of the sums that stand for integrals: the
# rectangle rule on a smooth density that dies out is exact to rounding.
_REACH, _DENSE = 10.0, 12


@dataclass(frozen=True)
class GaussianPair:
    """Round Gaussians P (the data's) and Q (the model's) on the line or in the plane.

    Attributes:
        mean_p: centre of P; one number a coordinate.
        mean_q: centre of Q.
        deviation_p: standard deviation of P in every direction.
        deviation_q: standard deviation of Q in every direction.
    """

    mean_p: tuple[float, ...] = (0.0, 0.0)
    mean_q: tuple[float, ...] = (1.0, 0.0)
    deviation_p: float = 1.0
    deviation_q: float = 1.25

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: the centres do not have the same one or two coordinates, or a deviation
                is not positive.
        """
        if len(self.mean_p) not in (1, 2) or len(self.mean_p) != len(self.mean_q):
            raise InvalidInput(
                "mean_q", self.mean_q, f"does not fit {self.mean_p}", "give one or two numbers each"
            )
        for field in ("deviation_p", "deviation_q"):
            value = getattr(self, field)
            if not value > 0:
                raise InvalidInput(field, value, "is not positive", "give 1.0 or so")

    @property
    def dim(self) -> int:
        """Number of coordinates of a point."""
        return len(self.mean_p)

    @property
    def gap(self) -> float:
        """Distance of the centres; for equal deviations also the Wasserstein distance W1."""
        return math.dist(self.mean_p, self.mean_q)

    def sample(
        self, count: int, which: Literal["p", "q"], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Draw `(count, dim)` float32 points of P or Q; `rng` is advanced."""
        mean, deviation = (
            (self.mean_p, self.deviation_p) if which == "p" else (self.mean_q, self.deviation_q)
        )
        points = np.asarray(mean) + deviation * rng.standard_normal((count, self.dim))
        return points.astype(np.float32)

    def log_ratio(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return log p(x)/q(x), `(n,)` float64, at `(n, dim)` points.

        It is what the optimal discriminator's logit is, and what a density-ratio estimate aims at.
        """
        log_p, log_q = self._logs(np.asarray(points, np.float64))
        return np.asarray(log_p - log_q)

    @property
    def jsd(self) -> float:
        """The Jensen–Shannon divergence, 0 to log 2 nats."""
        return self.divergence("jensen-shannon") / 2

    def divergence(self, name: Divergence) -> float:
        """Return a true f-divergence D_f(P‖Q) = ∫ q f(p/q), in nats; maybe infinite.

        The generators f are those of Nowozin et al. 2016, arXiv:1606.00709, table 6, so
        "jensen-shannon" is twice the usual Jensen–Shannon divergence (`jsd`), and "gan" is that
        less 2 log 2. KL, χ² and Hellinger are closed forms; the other two are integrated.

        Raises:
            InvalidInput: the name is unknown.
        """
        d, gap = self.dim, self.gap**2
        p, q = self.deviation_p**2, self.deviation_q**2
        match name:
            case "kl":
                return _kl(d, gap, p, q)
            case "reverse-kl":
                return _kl(d, gap, q, p)
            case "pearson":
                return _chi_square(d, gap, p, q)
            case "neyman":
                return _chi_square(d, gap, q, p)
            case "squared-hellinger":
                overlap: float = (4 * p * q / (p + q) ** 2) ** (d / 4) * math.exp(
                    -gap / (4 * (p + q))
                )
                return 2 * (1 - overlap)
            case "jensen-shannon":
                return self._jensen_shannon()
            case "gan":
                return self._jensen_shannon() - 2 * math.log(2)
        raise InvalidInput(
            "divergence", name, "is unknown", f"give one of {', '.join(DIVERGENCES)}"
        )

    def _jensen_shannon(self) -> float:
        widest, finest = sorted((self.deviation_p, self.deviation_q), reverse=True)
        step = finest / _DENSE
        # Turned so that the centres lie on the first axis: the divergence does not mind.
        line = np.arange(-_REACH * widest, self.gap + _REACH * widest, step)
        sides = np.arange(-_REACH * widest, _REACH * widest, step)
        straight = GaussianPair((0.0,), (self.gap,), self.deviation_p, self.deviation_q)
        log_p, log_q = straight._logs(line[:, None])
        cell = step
        if self.dim == 2:
            centred = GaussianPair((0.0,), (0.0,), self.deviation_p, self.deviation_q)
            side_p, side_q = centred._logs(sides[:, None])
            log_p = log_p[:, None] + side_p[None, :]
            log_q = log_q[:, None] + side_q[None, :]
            cell = step**2
        middle = np.logaddexp(log_p, log_q) - math.log(2)
        terms = np.exp(log_p) * (log_p - middle) + np.exp(log_q) * (log_q - middle)
        return float(terms.sum() * cell)

    def _logs(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        logs = []
        for mean, deviation in (
            (self.mean_p, self.deviation_p),
            (self.mean_q, self.deviation_q),
        ):
            squares = np.square((points - np.asarray(mean)) / deviation).sum(axis=1)
            logs.append(-0.5 * squares - self.dim * math.log(deviation * math.sqrt(2 * math.pi)))
        return logs[0], logs[1]


@dataclass(frozen=True, eq=False, repr=False)
class PairData(SampleData):
    """Points of both Gaussians; label 0 is P, label 1 is Q.

    Attributes:
        pair: the Gaussians; knows the divergences and draws further points.
    """

    pair: GaussianPair = GaussianPair()


def gaussians(
    pair: GaussianPair | None = None,
    *,
    count: int = DEFAULT_POINTS,
    split: str = "train",
    seed: int = 0,
) -> PairData:
    """Draw points of two Gaussians, by turns one of P and one of Q.

    Args:
        pair: the Gaussians; None for unit-wide P at 0 and Q, 1.25 wide, one unit to the right.
        count: number of points, 2 or more.
        split: "train" or "test", drawn apart.
        seed: 0 or more.

    Raises:
        InvalidInput: an argument is out of range.
    """
    pair = GaussianPair() if pair is None else pair
    if count < 2:
        raise InvalidInput("count", count, "is too small for two Gaussians", "give 2 or more")
    rng = generator(seed, split, "gaussians", count)
    labels = np.arange(count, dtype=np.int64) % 2
    points = np.empty((count, pair.dim), np.float32)
    points[labels == 0] = pair.sample(int((labels == 0).sum()), "p", rng)
    points[labels == 1] = pair.sample(int((labels == 1).sum()), "q", rng)
    return PairData(
        name="gaussians" if split == "train" else f"gaussians ({split})",
        fingerprint=fingerprint_of(["gaussians", split], points, labels),
        samples=points,
        labels=labels,
        label_names=("p", "q"),
        pair=pair,
    )


def _kl(d: int, gap: float, p: float, q: float) -> float:
    """KL(N(0, p I) ‖ N(gap, q I)); p and q are variances, gap is squared."""
    return 0.5 * (d * (p / q - 1 - math.log(p / q)) + gap / q)


def _chi_square(d: int, gap: float, p: float, q: float) -> float:
    """∫ p²/q − 1; infinite where the tails of q are too thin."""
    if 2 * q <= p:
        return math.inf
    a, b = 1 / p, 1 / q
    return (a / math.sqrt(b * (2 * a - b))) ** d * math.exp(gap * a * b / (2 * a - b)) - 1
