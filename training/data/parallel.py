"""A small parallel corpus, English to German, written by a grammar of our own.

Every pair is one scene said in both languages by rules: who does what to whom, perhaps when and
where. The German has what makes translating more than a dictionary: three genders and four endings
by case, the verb in second place after a leading time, the infinitive at the end after "can" and
"must", and "nicht" or "kein" for "not". It is grammatical and often silly, and nothing more is
claimed of it: scores on it say how a method learns, not how well it translates people's sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.samples import SampleData, check_numbers, fingerprint_of

PAD, START, END = 0, 1, 2
SPECIAL = ("<pad>", "<start>", "<end>")
PAIRS = 8_000
TEST_SHARE = 0.1

# English, its plural, German, its plural, gender.
_PEOPLE = """
man men Mann Männer m|woman women Frau Frauen f|child children Kind Kinder n
teacher teachers Lehrer Lehrer m|girl girls Mädchen Mädchen n|doctor doctors Ärztin Ärztinnen f
dog dogs Hund Hunde m|cat cats Katze Katzen f|horse horses Pferd Pferde n
friend friends Freund Freunde m|sister sisters Schwester Schwestern f|king kings König Könige m
"""
_THINGS = """
house houses Haus Häuser n|apple apples Apfel Äpfel m|flower flowers Blume Blumen f
book books Buch Bücher n|letter letters Brief Briefe m|lamp lamps Lampe Lampen f
chair chairs Stuhl Stühle m|picture pictures Bild Bilder n|clock clocks Uhr Uhren f
key keys Schlüssel Schlüssel m|boat boats Boot Boote n|bag bags Tasche Taschen f
"""
# English, German stem.
_ADJECTIVES = "big groß|small klein|old alt|new neu|red rot|green grün|white weiß|beautiful schön"
# English infinitive, third person; German infinitive, singular, plural.
_VERBS = """
see sees sehen sieht sehen|find finds finden findet finden|buy buys kaufen kauft kaufen
love loves lieben liebt lieben|draw draws zeichnen zeichnet zeichnen
carry carries tragen trägt tragen|look_for looks_for suchen sucht suchen
bring brings bringen bringt bringen|hear hears hören hört hören
"""
_MODALS = "can kann können|must muss müssen|may darf dürfen"
_TIMES = "today heute|tomorrow morgen|often oft|now jetzt|always immer"
_PLACES = """
in_the_garden im_Garten|in_the_city in_der_Stadt|at_the_station am_Bahnhof
in_the_kitchen in_der_Küche|on_the_street auf_der_Straße|by_the_lake am_See
"""

# German articles and endings of adjectives by case and gender; "p" is the plural.
_THE = {"nom": {"m": "der", "f": "die", "n": "das", "p": "die"}}
_THE["acc"] = {**_THE["nom"], "m": "den"}
_A = {"nom": {"m": "ein", "f": "eine", "n": "ein", "p": ""}}
_A["acc"] = {**_A["nom"], "m": "einen"}
_AFTER_THE = {"nom": {"m": "e", "f": "e", "n": "e", "p": "en"}}
_AFTER_THE["acc"] = {**_AFTER_THE["nom"], "m": "en"}
_AFTER_A = {"nom": {"m": "er", "f": "e", "n": "es", "p": "e"}}
_AFTER_A["acc"] = {**_AFTER_A["nom"], "m": "en"}


@dataclass(frozen=True, eq=False, repr=False)
class ParallelData(SampleData):
    """Sentences in two languages, as tokens; `samples` and `vocabulary` are those of the target.

    A row is the words, `END`, then `PAD` to the common length; `START` is for a decoder to begin
    with and stands in no row. Both splits have the same vocabularies and lengths.

    Attributes:
        sources: `(n, source_length)` int64 tokens of the source sentences.
        source_vocabulary: what each token of `sources` stands for.
    """

    sources: NDArray[np.int64] | None = None
    source_vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the parts; see `SampleData`.

        Raises:
            InvalidInput: the sources are missing, or do not fit.
        """
        super().__post_init__()
        if self.sources is None or self.sources.ndim != 2 or len(self.sources) != len(self):
            raise InvalidInput("sources", self.sources, "do not fit the samples", "give (n, s)")
        check_numbers("sources", self.sources, 0, len(self.source_vocabulary))

    def decode(self, tokens: NDArray[np.int64]) -> list[str]:
        """Return the target sentences of `(n, length)` tokens, up to `END`."""
        return [_text(row, self.vocabulary) for row in tokens]

    def decode_sources(self, tokens: NDArray[np.int64]) -> list[str]:
        """Return the source sentences of `(n, source_length)` tokens, up to `END`."""
        return [_text(row, self.source_vocabulary) for row in tokens]


def parallel_text(*, split: str = "train", count: int | None = None, seed: int = 0) -> ParallelData:
    """Write the corpus: 8,000 different English sentences with their German.

    One sentence in ten is held out as "test": no English sentence is in both splits, but all its
    words are in "train".

    Args:
        split: "train" or "test".
        count: only the first so many pairs of the split.
        seed: other seeds write other sentences.

    Raises:
        InvalidInput: an argument is out of range.
    """
    if split not in ("train", "test"):
        raise InvalidInput("split", split, "is no split of parallel-text", "give train or test")
    if seed < 0:
        raise InvalidInput("seed", seed, "is negative", "give 0 or more")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(4,)))
    pairs: dict[str, str] = {}
    while len(pairs) < PAIRS:
        english, german = sentence_pair(rng)
        pairs.setdefault(english, german)
    held = round(TEST_SHARE * PAIRS)
    rows = list(pairs.items())
    chosen = rows[:-held] if split == "train" else rows[-held:]
    if count is not None and not 1 <= count <= len(chosen):
        raise InvalidInput("count", count, "is out of range", f"give 1 to {len(chosen)}")
    chosen = chosen[:count]
    source_vocabulary, source_length = _vocabulary([english for english, _ in rows])
    vocabulary, length = _vocabulary([german for _, german in rows])
    sources = _tokens([english for english, _ in chosen], source_vocabulary, source_length)
    samples = _tokens([german for _, german in chosen], vocabulary, length)
    return ParallelData(
        name="parallel-text" if split == "train" else f"parallel-text ({split})",
        fingerprint=fingerprint_of([source_vocabulary, vocabulary], sources, samples),
        samples=samples,
        vocabulary=vocabulary,
        sources=sources,
        source_vocabulary=source_vocabulary,
    )


def sentence_pair(rng: np.random.Generator) -> tuple[str, str]:
    """Return one scene in English and in German, words apart by blanks; `rng` is advanced."""
    subject = _noun(rng, _PEOPLE)
    object_ = _noun(rng, _THINGS if rng.random() < 0.7 else _PEOPLE)
    infinitive, third, *german_verb = _pick(rng, _VERBS)
    modal = _pick(rng, _MODALS) if rng.random() < 0.3 else None
    time = _pick(rng, _TIMES) if rng.random() < 0.5 else None
    place = _pick(rng, _PLACES) if rng.random() < 0.4 else None
    # "must not" is no negation of "must" but of "may", in English alone.
    negated = rng.random() < 0.2 and (modal is None or modal[0] != "must")
    plural = subject.plural
    # English: time, subject, verb, object, place.
    if modal is not None:
        verb = [modal[0], *(["not"] if negated else []), infinitive]
    elif negated:
        verb = ["do" if plural else "does", "not", infinitive]
    else:
        verb = [infinitive if plural else third]
    english = time[:1] if time is not None else []
    english += [*subject.english(), *verb, *object_.english()]
    english += place[:1] if place is not None else []
    # German: whatever leads, the verb comes second; the infinitive closes.
    finite = (modal[1:] if modal is not None else german_verb[1:])[int(plural)]
    kein = negated and not object_.definite
    german = [time[1], finite] if time is not None else []
    german += subject.german("nom")
    german += [] if time is not None else [finite]
    german += object_.german("acc", kein=kein)
    german += ["nicht"] if negated and not kein else []
    german += place[1:] if place is not None else []
    german += [german_verb[0]] if modal is not None else []
    return " ".join(english).replace("_", " "), " ".join(german).replace("_", " ")


@dataclass(frozen=True)
class _Noun:
    words: Sequence[str]
    adjective: Sequence[str] | None
    definite: bool
    plural: bool

    def english(self) -> list[str]:
        noun = self.words[1 if self.plural else 0]
        adjective = [self.adjective[0]] if self.adjective else []
        phrase = [*adjective, noun]
        if self.definite:
            return ["the", *phrase]
        if self.plural:
            return phrase
        return ["an" if phrase[0][0] in "aeiou" else "a", *phrase]

    def german(self, case: str, *, kein: bool = False) -> list[str]:
        kind = "p" if self.plural else self.words[4]
        article = (_THE if self.definite else _A)[case][kind]
        # "kein" has endings in the plural, too, and there adjectives follow it as they do "die".
        article = "k" + (article or "eine") if kein else article
        like_the = self.definite or (kein and self.plural)
        ending = (_AFTER_THE if like_the else _AFTER_A)[case][kind]
        adjective = [self.adjective[1] + ending] if self.adjective else []
        return [*([article] if article else []), *adjective, self.words[3 if self.plural else 2]]


def _noun(rng: np.random.Generator, nouns: str) -> _Noun:
    words = _pick(rng, nouns)
    adjective = _pick(rng, _ADJECTIVES) if rng.random() < 0.5 else None
    return _Noun(words, adjective, bool(rng.random() < 0.6), bool(rng.random() < 0.35))


@cache
def _entries(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().replace("\n", "|").split("|")]


def _pick(rng: np.random.Generator, table: str) -> list[str]:
    entries = _entries(table)
    return entries[int(rng.integers(len(entries)))]


def _vocabulary(sentences: list[str]) -> tuple[tuple[str, ...], int]:
    """The special tokens, then the words; and the length of the longest sentence with `END`."""
    words = sorted({word for sentence in sentences for word in sentence.split()})
    return (*SPECIAL, *words), max(len(sentence.split()) for sentence in sentences) + 1


def _tokens(sentences: list[str], vocabulary: tuple[str, ...], length: int) -> NDArray[np.int64]:
    numbers = {word: number for number, word in enumerate(vocabulary)}
    rows = np.full((len(sentences), length), PAD, np.int64)
    for row, sentence in zip(rows, sentences, strict=True):
        words = sentence.split()
        row[: len(words)] = [numbers[word] for word in words]
        row[len(words)] = END
    return rows


def _text(row: NDArray[np.int64], vocabulary: tuple[str, ...]) -> str:
    words = []
    for token in row.tolist():
        if token == END:
            break
        if token not in (PAD, START):
            words.append(vocabulary[token])
    return " ".join(words)
