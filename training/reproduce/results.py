"""What a claim gave over its seeds: means, spreads, how often it held, and how it was made."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from t2i.files import write_atomically
from training.errors import TrainingError
from training.provenance import machine

RESULTS = Path(__file__).parents[1] / "claims" / "results"


@dataclass(frozen=True)
class SeedResult:
    """What one seed gave.

    Attributes:
        seed: The seed.
        figures: At the end of training, by name.
        best: At the best moment, where that was looked for.
        holds: Whether the claim held.
        seconds: It took, over all its parts when it was interrupted.
        data: Fingerprints of the data sets by name.
        pictures: Files by name.
        commit: Of the source tree it was measured with; None where there was none.
    """

    seed: int
    figures: Mapping[str, float]
    best: Mapping[str, float]
    holds: bool
    seconds: float
    data: Mapping[str, str]
    pictures: Mapping[str, Path]
    commit: str | None = None


@dataclass(frozen=True)
class Spread:
    """One figure over the seeds.

    Attributes:
        values: One a seed.
        mean: Of them.
        deviation: Their sample standard deviation (divided by n - 1); None of a single seed.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one number or more."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(tuple(values), statistics.fmean(values), deviation)

    def __str__(self) -> str:
        """Return the mean ± the deviation, in four digits and two."""
        if self.deviation is None:
            return f"{self.mean:.4g}"
        return f"{self.mean:.4g} ± {self.deviation:.2g}"


@dataclass(frozen=True)
class Result:
    """What a claim gave.

    Attributes:
        key: The paper.
        seeds: The seeds.
        holds: Whether the claim held, for each seed.
        final: Figures at the end of training, by name; the first one is the headline.
        best: Figures at the best moment, for those that were looked for.
        seconds: All seeds together.
        data: Fingerprints of the data sets by name.
        command: That makes it again.
        commit: Of the source tree it was made with, several where seeds differ; None where there
            is none.
        machine: Kind and cores.
        torch: Version.
    """

    key: str
    seeds: tuple[int, ...]
    holds: tuple[bool, ...]
    final: Mapping[str, Spread]
    best: Mapping[str, Spread]
    seconds: float
    data: Mapping[str, str]
    command: str
    commit: str | None
    machine: str
    torch: str

    @property
    def held(self) -> int:
        """Number of seeds on which the claim held."""
        return sum(self.holds)

    @property
    def summary(self) -> str:
        """The headline figure and how often the claim held, in one line."""
        name, spread = next(iter(self.final.items()))
        return f"{plain(name)} {spread}; held on {self.held} of {len(self.holds)} seeds"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Result:
        """Return what `as_json` gave.

        Raises:
            TrainingError: A field is missing or of another kind.
        """
        try:
            return cls(
                key=str(values["key"]),
                seeds=tuple(int(seed) for seed in values["seeds"]),
                holds=tuple(bool(each) for each in values["holds"]),
                final=_spreads(values["final"]),
                best=_spreads(values["best"]),
                seconds=float(values["seconds"]),
                data=dict(values["data"]),
                command=str(values["command"]),
                commit=values["commit"],
                machine=str(values["machine"]),
                torch=str(values["torch"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"result: cannot be read ({error!r}); record it again with t2i-train reproduce"
            ) from error


def plain(name: str) -> str:
    """Return a figure's name as words."""
    return name.replace("_", " ")


def aggregate(key: str, seeds: Sequence[SeedResult]) -> Result:
    """Put the seeds of a claim together.

    Args:
        key: The paper.
        seeds: One or more.

    Raises:
        TrainingError: There is no seed, or they did not measure the same.
    """
    if not seeds:
        raise TrainingError("seeds: there are none; give one or more, such as 0,1,2")
    first = seeds[0]
    for other in seeds:
        if list(other.figures) != list(first.figures) or list(other.best) != list(first.best):
            raise TrainingError(
                f"claim {key}: seeds {first.seed} and {other.seed} measured different figures; "
                "return the same names for every seed"
            )
    marks = {(name, mark) for each in seeds for name, mark in each.data.items()}
    varied = {name for name, _ in marks if sum(other == name for other, _ in marks) > 1}
    # Data that is drawn anew by each seed has a fingerprint for each.
    data = {
        f"{name} (seed {each.seed})" if name in varied else name: mark
        for each in seeds
        for name, mark in each.data.items()
    }
    return Result(
        key=key,
        seeds=tuple(each.seed for each in seeds),
        holds=tuple(each.holds for each in seeds),
        final={name: Spread.of([each.figures[name] for each in seeds]) for name in first.figures},
        best={name: Spread.of([each.best[name] for each in seeds]) for name in first.best},
        seconds=round(sum(each.seconds for each in seeds), 1),
        data=data,
        command=f"t2i-train reproduce {key} --seeds {','.join(str(each.seed) for each in seeds)}",
        commit=", ".join(dict.fromkeys(each.commit for each in seeds if each.commit)) or None,
        machine=machine(),
        torch=torch.__version__,
    )


def recorded(folder: Path = RESULTS) -> Mapping[str, Result]:
    """All recorded results by key.

    Raises:
        TrainingError: A file is damaged.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            result = Result.from_json(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TrainingError) as error:
            raise TrainingError(f"results: {path} cannot be read ({error})") from error
        found[result.key] = result
    return found


def record(result: Result, folder: Path = RESULTS) -> Path:
    """Write a result to the file of its paper and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result.as_json(), indent=2, allow_nan=False) + "\n"
    return write_atomically(folder / f"{result.key}.json", text.encode())


def _spreads(values: Mapping[str, Any]) -> dict[str, Spread]:
    return {
        name: Spread(
            tuple(float(value) for value in each["values"]),
            float(each["mean"]),
            None if each["deviation"] is None else float(each["deviation"]),
        )
        for name, each in values.items()
    }
