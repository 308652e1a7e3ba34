"""Which modes of a known mixture a generator reaches, and how much of what it draws lies there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.metrics.errors import MetricsError


@dataclass(frozen=True, slots=True)
class Modes:
    """What a sample shows of a mixture with known modes.

    Attributes:
        covered: modes on which one sample or more landed.
        well_covered: modes on which at least `fraction` of their fair share landed.
        total: modes that there are.
        fraction: of the fair share (count · the mode's weight).
        good: share of the samples that landed on a mode at all.
        kl: KL(landed samples' histogram, true weights) in nats; infinite when nothing landed.
        count: samples.
        histogram: how many landed on each mode.
        floor: the same of as many real samples, when given.
        radius: in standard deviations, how near counts as landed; 0 where a classifier decides.
    """

    covered: int
    well_covered: int
    total: int
    fraction: float
    good: float
    kl: float
    count: int
    histogram: tuple[int, ...]
    radius: float = 0.0
    floor: Modes | None = None

    def __str__(self) -> str:
        """Return all but the histogram in one line."""
        where = f"within {self.radius:g} σ" if self.radius else "by a classifier"
        floor = ""
        if self.floor is not None:
            real = self.floor
            floor = (
                f"; real {real.covered} ({real.well_covered}), high-quality {real.good:.4f}, "
                f"KL {real.kl:.4f} from {real.count}"
            )
        return (
            f"modes {self.covered} of {self.total} ({self.well_covered} with ≥ {self.fraction:g} "
            f"of their share), high-quality {self.good:.4f} {where}, KL {self.kl:.4f} "
            f"({self.count} samples{floor})"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values; an infinite KL becomes None."""
        values = asdict(self)
        values["histogram"] = list(self.histogram)
        values["kl"] = self.kl if math.isfinite(self.kl) else None
        values["floor"] = None if self.floor is None else self.floor.as_json()
        return values


def mixture_modes(
    samples: NDArray[np.floating[Any]],
    centres: NDArray[np.floating[Any]],
    sigma: float,
    *,
    weights: NDArray[np.floating[Any]] | None = None,
    radius: float = 3.0,
    fraction: float = 0.2,
    real: NDArray[np.floating[Any]] | None = None,
) -> Modes:
    """Give each sample to its nearest centre, if it lies within `radius` standard deviations.

    Srivastava et al., 2017, arXiv:1705.07761, section 4.1 (high-quality samples, modes); Metz et
    al., 2017, arXiv:1611.02163, appendix. In two dimensions 98.9 % of a true mixture lie within 3.

    Args:
        samples: (n, d) generated.
        centres: (modes, d).
        sigma: standard deviation of each mode, along each axis.
        weights: (modes,) of the mixture; all alike when not given.
        radius: in standard deviations.
        fraction: of its fair share that a mode needs to be well covered.
        real: (m, d) samples of the mixture itself, for the floor.

    Raises:
        MetricsError: shapes do not fit, or a number is not positive.
    """
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1:] != centres.shape[1:]:
        raise MetricsError(
            "samples", samples.shape, f"do not fit centres {centres.shape}", "give (n, d)"
        )
    if sigma <= 0 or radius <= 0:
        raise MetricsError("sigma", sigma, "or the radius is not positive", "use more than 0")
    floor = None
    if real is not None:
        floor = mixture_modes(
            real, centres, sigma, weights=weights, radius=radius, fraction=fraction
        )
    # |x - c|² = |x|² - 2 x·c + |c|² would lose digits where modes are narrow and far out.
    nearest = np.empty(len(samples), np.int64)
    for start in range(0, len(samples), 4096):
        part = samples[start : start + 4096].astype(np.float64)
        squares = ((part[:, None] - centres[None].astype(np.float64)) ** 2).sum(axis=2)
        best = squares.argmin(axis=1)
        near = squares[np.arange(len(part)), best] <= (radius * sigma) ** 2
        nearest[start : start + 4096] = np.where(near, best, -1)
    return count_modes(
        nearest, len(centres), weights=weights, fraction=fraction, radius=radius, floor=floor
    )


def count_modes(
    modes: NDArray[np.int64],
    total: int,
    *,
    weights: NDArray[np.floating[Any]] | None = None,
    fraction: float = 0.2,
    radius: float = 0.0,
    floor: Modes | None = None,
) -> Modes:
    """Count the mode of each sample, (n,) from 0, -1 for none.

    Raises:
        MetricsError: there is no sample, a mode is out of range, or weights do not fit.
    """
    if not len(modes) or modes.min() < -1 or modes.max() >= total:
        raise MetricsError(
            "modes", modes.shape, f"are not one or more numbers from -1 to {total - 1}", "count"
        )
    if not 0 < fraction <= 1:
        raise MetricsError("fraction", fraction, "is not in (0, 1]", "use 0.2")
    share = np.full(total, 1 / total) if weights is None else np.asarray(weights, np.float64)
    if share.shape != (total,) or not (share > 0).all():
        raise MetricsError(
            "weights", share.shape, f"are not {total} positive numbers", "leave out empty modes"
        )
    share = share / share.sum()
    landed = modes[modes >= 0]
    histogram = np.bincount(landed, minlength=total)
    kl = math.inf
    if len(landed):
        p = histogram / len(landed)
        shown = p > 0
        kl = max(0.0, float((p[shown] * np.log(p[shown] / share[shown])).sum()))
    return Modes(
        covered=int((histogram > 0).sum()),
        well_covered=int(((histogram > 0) & (histogram >= fraction * share * len(modes))).sum()),
        total=total,
        fraction=fraction,
        good=len(landed) / len(modes),
        kl=kl,
        count=len(modes),
        histogram=tuple(histogram.tolist()),
        radius=radius,
        floor=floor,
    )


Reader = Callable[[Tensor], Tensor]
"""From pictures (n, h, w, 1) uint8 to logits (n, classes)."""


def stacked_modes(
    read: Reader,
    pictures: NDArray[np.uint8],
    *,
    classes: int = 10,
    fraction: float = 0.2,
    batch: int = 512,
    real: NDArray[np.uint8] | None = None,
) -> Modes:
    """Read a digit in each colour channel and count the classes³ combinations.

    Stacked MNIST of Che et al., 2017, arXiv:1612.02136, section 4.2.1 and Metz et al., 2017,
    arXiv:1611.02163, section 3.3.1. Published counts are of 25,600 or 26,000 samples.

    Args:
        read: a digit classifier's logits, such as `PictureClassifier.logits`.
        pictures: (n, h, w, 3) uint8, a digit in each channel.
        classes: of the classifier.
        fraction: see `count_modes`.
        batch: pictures read at once.
        real: stacked real digits, for the floor.

    Raises:
        MetricsError: the pictures have not three channels.
    """
    floor = None
    if real is not None:
        floor = stacked_modes(read, real, classes=classes, fraction=fraction, batch=batch)
    if pictures.ndim != 4 or pictures.shape[3] != 3 or not len(pictures):
        raise MetricsError(
            "pictures", pictures.shape, "are no pictures of 3 channels", "give (n, h, w, 3)"
        )
    rows = []
    for start in range(0, len(pictures), batch):
        part = torch.from_numpy(np.array(pictures[start : start + batch]))
        channels = part.permute(0, 3, 1, 2).flatten(0, 1)[..., None]
        digits = read(channels).argmax(dim=1).view(-1, 3)
        rows.append(digits @ torch.tensor([classes**2, classes, 1]))
    return count_modes(torch.cat(rows).numpy(), classes**3, fraction=fraction, floor=floor)
