"""What a claim is written in: the experiment that shows what a paper says, on one seed.

    @claim(paper="about 5 % (table 1)", shows="the categorical code finds the digits by itself")
    def infogan(trial: Trial) -> Measured:
        data = trial.data("mnist", resolution=32)
        trained = trial.train("infogan", data, kimg=400)
        ...
        return Measured({"error_percent": error}, holds=error < 10, pictures={"codes": path})

A file `training/claims/<key>.py` holds one such function, named like the paper's own.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.claims.trial import Moment, Trained, Trial
from training.errors import TrainingError

__all__ = ["Claim", "Measured", "Moment", "Trained", "Trial", "claim", "claims", "find_claim"]


@dataclass(frozen=True)
class Measured:
    """What one seed of a claim has shown.

    Attributes:
        figures: Numbers at the end of training, by a name that holds the unit
            (``error_percent``, ``modes_of_25``); the first one is the headline.
        holds: Whether what the paper claims was seen on this seed.
        pictures: PNG files that show it, by name; the first one goes to the paper's page.
        best: The same figures at the best moment of training, where that was looked for
            (`Trained.best`).
    """

    figures: Mapping[str, float]
    holds: bool
    pictures: Mapping[str, Path] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)

    def check(self, key: str, *, finite: bool = True) -> None:
        """Refuse what cannot be recorded.

        Args:
            key: The paper, for the message.
            finite: Refuse figures that are no numbers.

        Raises:
            TrainingError: There is no figure, one is not finite, a best one has no figure beside
                it, or a picture is missing.
        """
        if not self.figures:
            raise TrainingError(f"claim {key}: measured nothing; return one figure or more")
        for name, value in {**self.figures, **self.best}.items():
            if finite and not math.isfinite(value):
                raise TrainingError(
                    f"claim {key}: figure {name} is {value}; leave out what cannot be measured"
                )
        for name in self.best:
            if name not in self.figures:
                raise TrainingError(
                    f"claim {key}: best names {name!r}, which is none of the figures "
                    f"({', '.join(self.figures)})"
                )
        for name, path in self.pictures.items():
            if path.suffix != ".png" or not path.is_file():
                raise TrainingError(f"claim {key}: picture {name} is no PNG file at {path}")


Experiment = Callable[[Trial], Measured]


@dataclass(frozen=True)
class Claim:
    """A registered claim.

    Attributes:
        key: Key of the paper.
        paper: What the paper itself reports, with its place there.
        shows: What the experiment shows, as a sentence without a full stop.
        text: The function's docstring: how it is measured.
        measure: The experiment, on one seed.
        source: Its file.
    """

    key: str
    paper: str
    shows: str
    text: str
    measure: Experiment
    source: Path


_CLAIMS: dict[str, Claim] = {}


def claim(*, paper: str, shows: str) -> Callable[[Experiment], Experiment]:
    """Register a claim under its function's name (``_`` becomes ``-``), the key of the paper.

    Args:
        paper: What the paper reports, with its place there; "no figure" where it has none.
        shows: What the experiment shows, as a sentence without a full stop.
    """

    def registered(measure: Experiment) -> Experiment:
        key = measure.__name__.replace("_", "-")
        text = inspect.getdoc(measure) or ""
        if not text:
            raise TypeError(f"claim {key}: has no docstring; tell how it is measured")
        _CLAIMS[key] = Claim(key, paper, shows, text, measure, Path(inspect.getfile(measure)))
        return measure

    return registered


def claims() -> Mapping[str, Claim]:
    """All registered claims by key."""
    package = importlib.import_module("training.claims")
    for found in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"training.claims.{found}")
    return dict(sorted(_CLAIMS.items()))


def find_claim(key: str) -> Claim:
    """Return the claim of a paper.

    Raises:
        TrainingError: It has none.
    """
    known = claims()
    if key not in known:
        raise TrainingError(
            f"claim {key!r} is not known; there are {', '.join(known)} "
            "(t2i-train zoo shows what each shows)"
        )
    return known[key]
