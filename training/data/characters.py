"""A small corpus of English for character models: the pages that Python's own `help()` shows.

The topics of `pydoc` are the reference of the Python language, some hundreds of kilobytes of prose
that every installation of Python carries, under the licence of the Python Software Foundation. They
differ a little from one version of Python to the next, and the fingerprint with them.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.errors import DataError
from training.data.samples import SampleData, fingerprint_of

ALPHABET = " " + string.ascii_lowercase + string.digits + ".,;:'\"()-_/=?!"
TEST_SHARE = 0.05

_NUMBERS = {letter: number for number, letter in enumerate(ALPHABET)}
_OUTSIDE = re.compile(f"[^{re.escape(ALPHABET)}]+")
_WORD = re.compile("[a-z]+")
_LEAST_WORDS, _LEAST_LETTERS = 8, 0.88


@dataclass(frozen=True, eq=False, repr=False)
class CharacterData(SampleData):
    """Windows of text of one length; a token is a character, number `i` of `vocabulary`.

    Attributes:
        text: what the windows were cut from, one paragraph a line.
        words: every word of both splits, to tell real words from made-up ones.
    """

    text: str = ""
    words: frozenset[str] = frozenset()

    def decode(self, tokens: NDArray[np.int64]) -> list[str]:
        """Return the texts of `(n, length)` tokens."""
        return ["".join(self.vocabulary[token] for token in row) for row in tokens]

    def known_words(self, texts: Iterable[str]) -> float:
        """Return the share, 0 to 1, of words in texts that the corpus has.

        The first and the last word of each text are left out: a window may cut them. 0 when no
        word remains.
        """
        inner = [word for text in texts for word in _WORD.findall(text)[1:-1]]
        return sum(word in self.words for word in inner) / len(inner) if inner else 0.0


def characters(
    *, length: int = 32, split: str = "train", count: int | None = None
) -> CharacterData:
    """Cut the corpus into windows, each of which begins with a word and overlaps half the last.

    Text is in lower case; what `ALPHABET` lacks is left out, and so are paragraphs that are mostly
    code. A paragraph belongs to "test" by a hash of its text, one in twenty.

    Args:
        length: characters a window; 32 in Gulrajani et al. 2017, arXiv:1704.00028, section 5.5.
        split: "train" or "test".
        count: only the first so many windows.

    Returns:
        `samples` `(n, length)` int64 tokens, 0 to `len(vocabulary) - 1`.

    Raises:
        InvalidInput: an argument is out of range.
        DataError: this Python was installed without its help pages.
    """
    if split not in ("train", "test"):
        raise InvalidInput("split", split, "is no split of characters", "give train or test")
    if not 4 <= length <= 256:
        raise InvalidInput("length", length, "is out of range", "give 4 to 256")
    every = _paragraphs()
    chosen = [text for text in every if _is_test(text) == (split == "test")]
    windows = [window for text in chosen for window in _windows(text, length)]
    if count is not None and not 1 <= count <= len(windows):
        raise InvalidInput("count", count, "is out of range", f"give 1 to {len(windows)}")
    windows = windows[:count]
    samples = np.array([[_NUMBERS[letter] for letter in window] for window in windows], np.int64)
    return CharacterData(
        name="characters" if split == "train" else f"characters ({split})",
        fingerprint=fingerprint_of(["characters", ALPHABET], samples),
        samples=samples,
        vocabulary=tuple(ALPHABET),
        text="\n".join(chosen),
        words=frozenset(word for text in every for word in _WORD.findall(text)),
    )


def _paragraphs() -> list[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "data characters: this Python has no help pages (pydoc_data); install the full "
            "standard library"
        ) from error
    found: dict[str, None] = {}
    for title in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[title]):
            plain = " ".join(paragraph.split())
            if "::=" in plain or ">>>" in plain:
                continue
            text = " ".join(_OUTSIDE.sub("", plain.lower()).split())
            letters = sum(letter.isalpha() or letter == " " for letter in text)
            words = text.count(" ") + 1
            if words >= _LEAST_WORDS and letters >= _LEAST_LETTERS * len(text):
                # Topics share paragraphs; a copy in both splits would give the test away.
                found[text] = None
    return list(found)


def _is_test(text: str) -> bool:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) < TEST_SHARE * 2**32


def _windows(text: str, length: int) -> list[str]:
    starts = [0, *(match.end() for match in re.finditer(" ", text))]
    found = []
    free = 0
    for start in starts:
        if start >= free and start + length <= len(text):
            found.append(text[start : start + length])
            free = start + length // 2
    return found
