"""How near generated text comes to real text: BLEU, and the share of words that exist."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.metrics.errors import MetricsError
from training.metrics.score import Score

Tokens = Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Bleu:
    """BLEU of a set of sentences, from 0 to 1.

    Attributes:
        value: brevity · geometric mean of `precisions`.
        precisions: share of the n-grams that a reference holds too, for n from 1.
        brevity: the penalty for being shorter than the references, 1 without any.
        length: tokens in all candidates.
        reference_length: tokens in the references nearest in length.
        count: sentences.
    """

    value: float
    precisions: tuple[float, ...]
    brevity: float
    length: int
    reference_length: int
    count: int

    def __str__(self) -> str:
        """Return all of it in one line."""
        parts = "/".join(f"{share:.3f}" for share in self.precisions)
        return (
            f"BLEU-{len(self.precisions)} {self.value:.4f} ({self.count} sentences, precisions "
            f"{parts}, brevity {self.brevity:.3f}, {self.length} against {self.reference_length} "
            "tokens)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "precisions": list(self.precisions)}


def bleu(
    candidates: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    *,
    longest: int = 4,
    smooth: bool = False,
) -> Bleu:
    """Return the BLEU of candidates, over the whole set.

    Papineni et al., 2002, sections 2.1 to 2.3: n-gram counts are clipped by the most that one
    reference holds, precisions are taken over the set, and the brevity penalty compares with the
    reference nearest in length (the shorter one when two are as near).

    Args:
        candidates: one sequence of tokens each: words, or token numbers.
        references: for each candidate one or more true sequences.
        longest: n-grams up to this length count.
        smooth: add one to counts for n > 1 (Lin and Och, 2004), for a figure of few sentences;
            without, one missing n-gram length makes the figure 0.

    Raises:
        MetricsError: there is no candidate, or one has no reference.
    """
    if longest < 1:
        raise MetricsError("longest", longest, "is not positive", "use 4")
    if not candidates or len(candidates) != len(references):
        raise MetricsError(
            "references",
            len(references),
            f"do not match {len(candidates)} candidates",
            "give one or more candidates, and a list of references for each",
        )
    hits, totals = [0] * longest, [0] * longest
    length = reference_length = 0
    for index, (candidate, true) in enumerate(zip(candidates, references, strict=True)):
        if not true:
            raise MetricsError(f"references[{index}]", 0, "is empty", "give 1 reference or more")
        length += len(candidate)
        reference_length += min(
            (len(each) for each in true), key=lambda size: (abs(size - len(candidate)), size)
        )
        for n in range(1, longest + 1):
            counts = _ngrams(candidate, n)
            most: Counter[Tokens] = Counter()
            for each in true:
                most |= _ngrams(each, n)
            hits[n - 1] += (counts & most).total()
            totals[n - 1] += counts.total()
    add = [int(smooth and n > 0) for n in range(longest)]
    precisions = tuple(
        (hit + more) / (total + more) if total + more else 0.0
        for hit, total, more in zip(hits, totals, add, strict=True)
    )
    brevity = 1.0
    if length < reference_length:
        brevity = math.exp(1 - reference_length / length) if length else 0.0
    value = 0.0
    if min(precisions) > 0:
        value = brevity * math.exp(sum(math.log(share) for share in precisions) / longest)
    return Bleu(value, precisions, brevity, length, reference_length, len(candidates))


def _ngrams(tokens: Tokens, n: int) -> Counter[Tokens]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def word_share(
    texts: Sequence[str], vocabulary: Collection[str], real: Sequence[str] | None = None
) -> Score:
    """Return the share of words, between blanks, that a vocabulary holds; 0 without any word.

    The claim of the character model of Gulrajani et al., 2017, arXiv:1704.00028, section 5.

    Args:
        texts: generated texts.
        vocabulary: all words that exist; a set is fastest.
        real: held-out texts, for the floor (their words, too, are not all in the vocabulary).

    Raises:
        MetricsError: there is no text or no vocabulary.
    """
    known = frozenset(vocabulary)
    if not texts or not known:
        raise MetricsError("texts", len(texts), "or the vocabulary is empty", "give 1 or more")
    words = [word for text in texts for word in text.split()]
    spare = [word for text in real or () for word in text.split()]
    return Score(
        name="in-vocabulary words",
        value=_share(words, known),
        floor=_share(spare, known) if real is not None else None,
        count=len(texts),
        floor_count=len(real or ()),
        better="higher",
        detail={"vocabulary": len(known)},
        noted={"words": len(words), "different": len(set(words))},
    )


def _share(words: Sequence[str], known: frozenset[str]) -> float:
    return sum(word in known for word in words) / len(words) if words else 0.0
