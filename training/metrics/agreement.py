"""How well pictures agree with the captions that they were drawn for, as a matcher sees it.

R-precision: Xu et al., 2018, arXiv:1711.10485, section 4: the share of drawn pictures whose own
caption lies nearest among 100, the other 99 being captions of other pictures. Here a caption counts
among the 99 only if nobody knows it to be right for the picture (see `RightCaptions`): "a bird with
a red head" is no wrong answer for another red head. Of captions that lie equally near each is
picked as often, so a matcher that sees nothing scores 1 in 100, not 0 and not 1.

The matching score is the mean cosine between pictures and their captions.

Both depend on the matcher, on the captions and on their number. So each stands between two others:
what the real pictures of the captions score, and what the pictures score when each is given the
caption of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.metrics.errors import MetricsError
from training.metrics.features import Progress
from training.metrics.score import Score

CHOICES = 100
# Cosines are compared to so many digits: the last ones depend on the size of a matrix product.
_DIGITS = 6


class Matcher(Protocol):
    """Sees pictures and reads captions; what belongs together lies near."""

    name: str
    resize: int

    def see(self, pictures: NDArray[np.uint8], *, progress: Progress | None = None) -> Tensor:
        """Map pictures (n, h, w, 1 or 3) uint8 to unit vectors (n, d) float32."""
        ...

    def read(self, captions: Sequence[str]) -> Tensor:
        """Map captions to unit vectors (n, d) float32."""
        ...


@dataclass(frozen=True, slots=True)
class Questions:
    """Captions, and for each the wrong ones that it must be told from.

    Attributes:
        captions: what is asked for.
        wrong: (n, choices - 1) int64 places of other captions.
    """

    captions: tuple[str, ...]
    wrong: NDArray[np.int64]

    @property
    def choices(self) -> int:
        """Captions that a picture's own one is found among, itself among them."""
        return int(self.wrong.shape[1]) + 1


def questions(
    captions: Sequence[str], right: NDArray[np.bool_], *, choices: int = CHOICES, seed: int = 0
) -> Questions:
    """Draw wrong captions by lot, no two of a picture's reading the same.

    Args:
        captions: n captions, each of a picture.
        right: (n, n) whether caption j is right for the picture of caption i; the diagonal is
            taken for true.
        choices: captions that each is found among; fewer where the captions do not suffice, the
            same number for all.
        seed: of the lot.

    Raises:
        MetricsError: shapes do not fit, or some picture has no wrong caption.
    """
    n = len(captions)
    if right.shape != (n, n) or n < 2 or choices < 2:
        raise MetricsError(
            "captions", n, f"do not fit {right.shape} and {choices} choices", "give 2 or more"
        )
    first: dict[str, int] = {}
    for place, text in enumerate(captions):
        first.setdefault(text, place)
    distinct = np.fromiter(first.values(), np.int64, len(first))
    own = np.fromiter((first[text] for text in captions), np.int64, n)
    wrong = ~right[:, distinct]
    wrong[distinct[None, :] == own[:, None]] = False
    few = int(wrong.sum(axis=1).min())
    if few == 0:
        row = int(wrong.sum(axis=1).argmin())
        raise MetricsError(
            "captions",
            captions[row],
            f"{captions[row]!r} has no wrong one to be told from among {n}",
            "ask for more pictures, whose captions differ",
        )
    rng, wanted = np.random.default_rng([seed, 4]), min(choices - 1, few)
    chosen = [rng.choice(distinct[row], wanted, replace=False) for row in wrong]
    return Questions(tuple(captions), np.stack(chosen))


@dataclass(frozen=True, slots=True)
class Agreement:
    """What one set of pictures scores.

    Attributes:
        r_precision: share of pictures whose own caption lies nearest; ties are shared out.
        matching: mean cosine of pictures and their captions.
    """

    r_precision: float
    matching: float


def agreement(seen: Tensor, read: Tensor, wrong: NDArray[np.int64]) -> Agreement:
    """Compare pictures with their captions and with wrong ones.

    Args:
        seen: (n, d) unit vectors of pictures.
        read: (n, d) unit vectors of their captions.
        wrong: (n, k) places of each picture's wrong captions.

    Raises:
        MetricsError: the numbers of pictures, captions and wrong captions differ.
    """
    if not len(seen) == len(read) == len(wrong) or not len(seen):
        raise MetricsError(
            "pictures", len(seen), f"do not fit {len(read)} captions", "give one for each"
        )
    near = (seen.double() @ read.double().t()).round(decimals=_DIGITS)
    own = near.diagonal()
    others = near.gather(1, torch.from_numpy(wrong))
    best = (others <= own[:, None]).all(dim=1).double()
    ties = (others == own[:, None]).sum(dim=1)
    return Agreement(float((best / (1 + ties)).mean()), float(own.mean()))


class AgreementTest:
    """Asks a matcher of real pictures once, and of drawn ones for each seed.

    Args:
        matcher: sees and reads; it must have learned from other pictures than those asked after.
        asked: captions and wrong captions.
        real: (m, h, w, 1 or 3) uint8, the real pictures of the captions.
        rows: (n,) which of them each caption came with.
        seed: of the lot that gives each picture another's caption.
        progress: called with the number of pictures done.

    Attributes:
        real: what the real pictures score.
    """

    def __init__(
        self,
        matcher: Matcher,
        asked: Questions,
        real: NDArray[np.uint8],
        rows: NDArray[np.int64],
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.matcher = matcher
        self.asked = asked
        self._read = matcher.read(asked.captions)
        self._pictures = len(real)
        seen = matcher.see(real, progress=progress)[torch.from_numpy(rows)]
        self.real = agreement(seen, self._read, asked.wrong)
        # One cycle through all: nobody keeps their own caption.
        order = np.random.default_rng([seed, 5]).permutation(len(rows))
        others = np.empty_like(order)
        others[order] = np.roll(order, 1)
        self._others = torch.from_numpy(others)

    def ask(
        self, pictures: NDArray[np.uint8], *, progress: Progress | None = None
    ) -> tuple[Score, Score]:
        """Return R-precision and matching score of drawn pictures.

        Each stands beside what the real pictures score (`floor`) and what these pictures score
        when each is given another's caption (`shuffled`).

        Args:
            pictures: (n, h, w, 1 or 3) uint8, one for each caption.
            progress: called with the number of pictures done.
        """
        seen = self.matcher.see(pictures, progress=progress)
        drawn = agreement(seen, self._read, self.asked.wrong)
        other = agreement(seen[self._others], self._read, self.asked.wrong)
        return (
            self._score("R-precision", drawn.r_precision, self.real.r_precision, other.r_precision),
            self._score("matching score", drawn.matching, self.real.matching, other.matching),
        )

    def _score(self, name: str, value: float, real: float, shuffled: float) -> Score:
        return Score(
            name=name,
            value=value,
            floor=real,
            shuffled=shuffled,
            count=len(self.asked.captions),
            floor_count=self._pictures,
            network=self.matcher.name,
            resize=self.matcher.resize,
            better="higher",
            detail={"choices": self.asked.choices},
        )
