"""Captions say of a bird only what is true, in many words, and tell what they claim."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from training.data.birds import (
    ATTRIBUTES,
    COLOURED_PARTS,
    COLOURS,
    HELD_OUT,
    Bird,
    Caption,
    Split,
    bird_at,
    describe,
)

# Words that give an attribute away, apart from the writer's own tables.
_SIGNS = {
    "throat": r"\bthroat\b",
    "breast": r"\b(breast|chest)\b",
    "belly": r"\b(belly|tummy)\b",
    "back": r"\bback\b",
    "tail": r"\btail\b",
    "wing_bars": r"\bwing bars\b",
    "eye_ring": r"\b(eye ring|ring around its eye)\b",
    "cheek_patch": r"\b(cheek patch|patch on its cheek)\b",
    "crest": r"\bcrest\b",
    "beak_length": r"\b(short|long)\b",
    "beak_shape": r"\b(cone|conical|hooked|needle|pointed|flat)\b",
    "size": r"\b(small|tiny|little|medium|mid|large|big)\b",
    "pose": r"\b(perch\w*|sitting|flying|flight|swimming|floating|standing|ground)\b",
}
_COLOUR_WORD = re.compile(rf"\b({'|'.join(COLOURS)}|gray)\b")


def told(split: Split, count: int, seed: int = 0) -> list[tuple[Bird, Caption]]:
    pairs = []
    for index in range(count):
        bird, captions = bird_at(split, seed, index)
        pairs.extend((bird, caption) for caption in captions)
    return pairs


PAIRS = told("train", 600)


def test_claims_are_true_and_never_empty() -> None:
    for bird, caption in PAIRS:
        assert caption.claims, caption
        assert all(bird.values[name] == value for name, value in caption.claims.items())


def test_words_and_claims_agree() -> None:
    for _, caption in PAIRS:
        whole = re.search(r"\b(all|completely|entirely)\b", caption.text)
        for name, sign in _SIGNS.items():
            if name in COLOURED_PARTS and ("bird" in caption.text and name in caption.claims):
                named = re.search(sign, caption.text) is not None
                bodily = _says_whole_bird(caption.text)
                assert named or bodily or whole, (name, caption)
            else:
                assert (re.search(sign, caption.text) is not None) == (name in caption.claims), (
                    name,
                    caption,
                )


def _says_whole_bird(text: str) -> bool:
    """Whether a colour is said of the bird itself: "a blue bird", "the bird is small and blue"."""
    colours = _COLOUR_WORD.pattern
    return bool(
        re.search(rf"{colours} bird\b", text)
        or re.search(rf"^(the|this) bird is (\w[\w-]*( sized)? and )?{colours}", text)
    )


def test_colour_words_are_those_of_the_claims() -> None:
    for _, caption in PAIRS:
        words = {word.replace("gray", "grey") for word in _COLOUR_WORD.findall(caption.text)}
        # "A blue sky" and "the green grass" colour the setting, not the bird.
        scenery = set(re.findall(r"(blue|green) (?:sky|sea|meadow|grass)", caption.text))
        claimed = {value for name, value in caption.claims.items() if name in COLOURED_PARTS}
        assert claimed <= words <= claimed | scenery, caption


def test_a_whole_coloured_bird_has_crown_back_and_wings_of_the_colour() -> None:
    seen = 0
    for bird, caption in PAIRS:
        match = re.search(rf"{_COLOUR_WORD.pattern} bird\b", caption.text)
        if match:
            colour = match.group(1).replace("gray", "grey")
            seen += 1
            for part in ("crown", "back", "wing"):
                assert bird.values[part] == caption.claims[part] == colour
    assert seen > 30


def test_wordings_vary() -> None:
    texts = [caption.text for _, caption in PAIRS]
    assert len(set(texts)) > 0.7 * len(texts)
    words = Counter(word for text in texts for word in re.findall(r"[a-z-]+", text))
    for synonyms in (
        ("head", "crown"),
        ("breast", "chest"),
        ("beak", "bill"),
        ("belly", "tummy"),
        ("small", "tiny", "little"),
        ("large", "big"),
        ("grey", "gray"),
        ("swimming", "floating"),
    ):
        assert all(words[word] >= 5 for word in synonyms), {w: words[w] for w in synonyms}


def test_most_captions_state_one_to_four_facts_and_half_the_head_colour() -> None:
    counts = np.array([len(caption.claims) for _, caption in PAIRS])
    assert ((counts >= 1) & (counts <= 4)).mean() > 0.8
    assert all((counts == number).mean() > 0.05 for number in (1, 2, 3, 4))
    crowns = np.mean(["crown" in caption.claims for _, caption in PAIRS])
    assert 0.4 < crowns < 0.7


def test_every_attribute_is_told_of() -> None:
    names = Counter(name for _, caption in PAIRS for name in caption.claims)
    assert all(names[name] > 0.03 * len(PAIRS) for name in ATTRIBUTES), names


def test_captions_are_clean_english() -> None:
    for _, caption in PAIRS:
        text = caption.text
        assert text == " ".join(text.split())
        assert not re.search(r" ,|,,|,$|\b(a|an|and|with|has|is|that)$", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert len(text) < 300


def test_captions_of_one_picture_differ() -> None:
    for index in range(100):
        _, captions = bird_at("val", 1, index)
        texts = [caption.text for caption in captions]
        assert len(set(texts)) == len(texts) == 5


def test_unseen_captions_each_state_a_held_out_combination() -> None:
    for _, caption in told("unseen", 150):
        assert any(combination.of(caption.claims) for combination in HELD_OUT), caption


def test_training_captions_never_state_a_held_out_combination() -> None:
    for _, caption in PAIRS:
        assert not any(combination.of(caption.claims) for combination in HELD_OUT), caption


def test_a_plain_wish_is_in_the_language_of_the_captions() -> None:
    texts = {caption.text for _, caption in told("train", 3000, seed=1)}
    pattern = re.compile(r"^small bird with red (head|crown)\b")
    assert any(pattern.search(text) for text in texts)


@pytest.mark.parametrize("count", [1, 5, 12])
def test_as_many_captions_as_asked(count: int) -> None:
    bird, _ = bird_at("train", 0, 0)
    assert len(describe(bird, np.random.default_rng(0), count)) == count


def test_a_bird_where_no_bird_of_the_data_set_is_can_be_told_of() -> None:
    bird = bird_at("train", 0, 0)[0].with_values(pose="swimming", setting="desert")
    captions = describe(bird, np.random.default_rng(0), 40)
    both = [caption for caption in captions if {"pose", "setting"} <= set(caption.claims)]
    assert both
    assert all("desert" in caption.text for caption in both)
