"""Mixtures of Gaussians in the plane and on the line: the toys on which mode collapse is seen.

Centres and deviation are known, so what a generator covers can be counted, and the density is
known, so what it learned can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.samples import SampleData, fingerprint_of

Floats = NDArray[np.float64]

DEFAULT_POINTS = 100_000


@dataclass(frozen=True, eq=False)
class Mixture:
    """Round Gaussians of one deviation, mixed by weight.

    Attributes:
        name: "ring8" and the like.
        centres: `(modes, dim)` float64.
        deviation: standard deviation of each mode in every direction, in units of the plane.
        weights: `(modes,)` float64, positive, adding up to 1.
    """

    name: str
    centres: Floats
    deviation: float
    weights: Floats

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InvalidInput: a shape or number makes no mixture.
        """
        if self.centres.ndim != 2 or not self.centres.size:
            raise InvalidInput("centres", self.centres.shape, "has no modes", "give (modes, dim)")
        if not self.deviation > 0:
            raise InvalidInput("deviation", self.deviation, "is not positive", "give 0.02 or so")
        if self.weights.shape != self.centres.shape[:1] or not (
            (self.weights > 0).all() and np.isclose(self.weights.sum(), 1)
        ):
            raise InvalidInput(
                "weights",
                self.weights.tolist(),
                "are no shares of the modes",
                "give one positive weight a mode, 1 together",
            )

    @property
    def dim(self) -> int:
        """Number of coordinates of a point."""
        return int(self.centres.shape[1])

    @property
    def modes(self) -> int:
        """Number of Gaussians."""
        return len(self.centres)

    def sample(
        self, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw points, as many as wanted.

        Args:
            count: number of points.
            rng: advanced by the call.

        Returns:
            `(count, dim)` float32 points and `(count,)` int64, the mode that each one is of.
        """
        modes = rng.choice(self.modes, size=count, p=self.weights)
        points = self.centres[modes] + self.deviation * rng.standard_normal((count, self.dim))
        return points.astype(np.float32), modes.astype(np.int64)

    def log_density(self, points: NDArray[np.floating]) -> Floats:
        """Return the natural logarithm of the density, `(n,)` float64, at `(n, dim)` points."""
        apart = np.asarray(points, np.float64)[:, None, :] - self.centres[None]
        squares = np.square(apart / self.deviation).sum(axis=2)
        logs = np.log(self.weights) - 0.5 * squares
        top = logs.max(axis=1)
        total = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
        return np.asarray(total - self.dim * np.log(self.deviation * np.sqrt(2 * np.pi)))


@dataclass(frozen=True, eq=False, repr=False)
class MixtureData(SampleData):
    """Points of a mixture; the label of a point is its mode.

    Attributes:
        mixture: centres, deviation and density; draws further points.
    """

    # A dataclass wants a default after the defaults above; __post_init__ wants a mixture.
    mixture: Mixture | None = None

    def __post_init__(self) -> None:
        """Check the parts; see `SampleData`.

        Raises:
            InvalidInput: the mixture is missing, or the points are not of its dimension.
        """
        super().__post_init__()
        if self.mixture is None or self.sample_shape != (self.mixture.dim,):
            raise InvalidInput(
                "mixture", self.mixture, "does not fit the samples", "give the one they are of"
            )


def ring8(*, radius: float = 2.0, deviation: float = 0.02, modes: int = 8) -> Mixture:
    """Return Gaussians on a circle: the toy of Metz et al. 2017, arXiv:1611.02163, section 3.1."""
    angles = 2 * np.pi * np.arange(modes) / modes
    centres = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Mixture(f"ring{modes}", centres, deviation, np.full(modes, 1 / modes))


def grid25(*, spacing: float = 2.0, deviation: float = 0.05, side: int = 5) -> Mixture:
    """Return Gaussians on a square grid about the origin.

    At the defaults it is that of Srivastava et al. 2017, arXiv:1705.07761: coordinates −4 to 4.
    """
    line = spacing * (np.arange(side) - (side - 1) / 2)
    centres = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return Mixture(f"grid{side * side}", centres, deviation, np.full(side * side, 1 / side**2))


def mixture1d() -> Mixture:
    """Return two unequal humps on the line, which no single Gaussian fits.

    0.65 N(−1, 0.5²) + 0.35 N(1.5, 0.5²): density for figure 1 of Goodfellow et al. 2014 and for
    the univariate study of Nowozin et al. 2016, section 2.5 (their mixture is not printed, so this
    one is ours).
    """
    return Mixture("mixture1d", np.array([[-1.0], [1.5]]), 0.5, np.array([0.65, 0.35]))


MIXTURES = {"ring8": ring8, "grid25": grid25, "mixture1d": mixture1d}


def mixture_data(
    mixture: Mixture, *, count: int = DEFAULT_POINTS, split: str = "train", seed: int = 0
) -> MixtureData:
    """Draw a fixed number of points of a mixture.

    Args:
        mixture: what to draw from.
        count: number of points.
        split: "train" or "test", drawn apart.
        seed: 0 or more.

    Raises:
        InvalidInput: an argument is out of range.
    """
    points, modes = mixture.sample(count, generator(seed, split, mixture.name, count))
    return MixtureData(
        name=mixture.name if split == "train" else f"{mixture.name} ({split})",
        fingerprint=fingerprint_of([mixture.name, split, mixture.deviation], points, modes),
        samples=points,
        labels=modes,
        label_names=tuple(_place(centre) for centre in mixture.centres),
        mixture=mixture,
    )


def generator(seed: int, split: str, name: str, count: int) -> np.random.Generator:
    """Return the random numbers of a drawn split.

    Raises:
        InvalidInput: the seed is negative, the split unknown, or the count below 1.
    """
    if seed < 0:
        raise InvalidInput("seed", seed, "is negative", "give 0 or more")
    if split not in ("train", "test"):
        raise InvalidInput("split", split, f"is no split of {name}", "give train or test")
    if count < 1:
        raise InvalidInput("count", count, "is too small", "give 1 or more")
    key = 0 if split == "train" else 1
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key,)))


def _place(centre: Floats) -> str:
    # Adding 0 turns the −0 of a rounded cosine into 0.
    return "(" + ", ".join(f"{round(float(x), 2) + 0.0:g}" for x in centre) + ")"
