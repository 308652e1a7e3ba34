"""One measured figure with all that it needs to mean something."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from training.metrics.errors import MetricsError

Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True, slots=True)
class Score:
    """A figure beside what real data scores, and how it was made.

    Two scores may be compared only when `name`, `network`, `resize`, `count` and `detail` agree.

    Attributes:
        name: what was measured, such as `FID`.
        value: the figure.
        floor: the same figure of real data that took the place of the generated: real against
            real for a distance. None where nobody gave spare real data.
        count: generated samples.
        real: real samples that they were compared with; 0 where none take part.
        floor_count: real samples behind `floor`.
        network: name of the feature network or classifier; empty where none takes part.
        resize: side in pixels to which pictures are brought; 0 where no picture is.
        spread: standard deviation over seeds, or else over subsets or splits; 0 without any.
        better: which way is better; `neither` where the real figure is the aim.
        shuffled: the same figure where each sample is given another's condition, which is what
            comes of not heeding it; None where no condition takes part.
        detail: the other settings, by name.
        noted: what else was seen on the way, by name; does not decide what is comparable.
    """

    name: str
    value: float
    floor: float | None
    count: int
    real: int = 0
    floor_count: int = 0
    network: str = ""
    resize: int = 0
    spread: float = 0.0
    better: Better = "lower"
    shuffled: float | None = None
    detail: Mapping[str, float | int | str] = field(default_factory=dict)
    noted: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return all of it in one line."""
        spread = f" ± {self.spread:.4g}" if self.spread else ""
        floor = "no floor measured" if self.floor is None else f"floor {self.floor:.4g}"
        if self.floor is not None and self.floor_count:
            floor += f" from {self.floor_count}"
        parts = [floor, f"{self.count} samples"]
        if self.shuffled is not None:
            parts.insert(1, f"shuffled {self.shuffled:.4g}")
        if self.real:
            parts.append(f"{self.real} real")
        parts.append(self.network or "no network")
        if self.resize:
            parts.append(f"resize {self.resize}")
        parts += [f"{name} {value}" for name, value in self.detail.items()]
        parts += [f"{name} {value:.4g}" for name, value in self.noted.items()]
        return f"{self.name} {self.value:.4g}{spread} ({', '.join(parts)})"

    def as_json(self) -> dict[str, Any]:
        """Return the score as JSON values; a figure that is no number becomes None."""
        return {
            "name": self.name,
            "value": finite_or_none(self.value),
            "floor": finite_or_none(self.floor),
            "spread": finite_or_none(self.spread),
            "count": self.count,
            "real": self.real,
            "floor_count": self.floor_count,
            "network": self.network,
            "resize": self.resize,
            "better": self.better,
            "shuffled": finite_or_none(self.shuffled),
            "detail": dict(self.detail),
            "noted": dict(self.noted),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Score:
        """Read what `as_json` returned.

        Raises:
            MetricsError: a field is missing or of another type.
        """
        try:
            value, floor = values["value"], values["floor"]
            # Scores of earlier versions do not have it.
            shuffled = values.get("shuffled")
            if values["better"] not in ("lower", "higher", "neither"):
                raise ValueError(f"better is {values['better']!r}")
            return cls(
                name=str(values["name"]),
                value=math.nan if value is None else float(value),
                floor=None if floor is None else float(floor),
                count=int(values["count"]),
                real=int(values["real"]),
                floor_count=int(values["floor_count"]),
                network=str(values["network"]),
                resize=int(values["resize"]),
                spread=float(values["spread"] or 0.0),
                better=values["better"],
                shuffled=None if shuffled is None else float(shuffled),
                detail=dict(values["detail"]),
                noted=dict(values["noted"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MetricsError(
                "score", dict(values), f"is no score ({error!r})", "give what Score.as_json wrote"
            ) from error


def averaged(scores: Mapping[int, Score]) -> Score:
    """Return one score of several seeds: means, with the spread over the seeds.

    The count stays that of one seed, and each seed's own figure is noted. A single seed's score is
    returned as it is, with its spread over subsets, if it has one.

    Args:
        scores: seed -> the same figure of that seed's samples.

    Raises:
        MetricsError: there is none, or they differ in more than their figures.
    """
    if not scores:
        raise MetricsError("seeds", 0, "give no score", "measure one seed or more")
    first = next(iter(scores.values()))
    kinds = {
        (each.name, each.network, each.resize, each.count, each.real, tuple(each.detail.items()))
        for each in scores.values()
    }
    if len(kinds) > 1:
        raise MetricsError("scores", first.name, "differ in how they were made", "measure alike")
    if len(scores) == 1:
        return first

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    values = [each.value for each in scores.values()]
    middle = sum(values) / len(values)
    noted = {name: mean(each.noted[name] for each in scores.values()) for name in first.noted}
    return replace(
        first,
        value=middle,
        spread=math.sqrt(sum((value - middle) ** 2 for value in values) / len(values)),
        floor=mean(each.floor for each in scores.values()),
        shuffled=mean(each.shuffled for each in scores.values()),
        noted={
            **{name: value for name, value in noted.items() if value is not None},
            **{f"seed {seed}": each.value for seed, each in scores.items()},
        },
    )


def finite_or_none(value: float | None) -> float | None:
    """Return the figure, or None where JSON has no word for it."""
    return None if value is None or not math.isfinite(value) else float(value)
