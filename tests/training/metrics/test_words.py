import math

import pytest
from torchmetrics.functional.text import bleu_score

from training.metrics.errors import MetricsError
from training.metrics.words import bleu, word_share


def _words(*texts: str) -> list[list[str]]:
    return [text.split() for text in texts]


def test_bleu_of_a_case_worked_by_hand() -> None:
    # "the" stands twice in a reference: of seven, two count. No bigram "the the" exists.
    candidate = ["the"] * 7
    references = _words("the cat is on the mat", "there is a cat on the mat")
    assert bleu([candidate], [references], longest=1).value == pytest.approx(2 / 7)
    assert bleu([candidate], [references], longest=2).value == 0

    # Unigrams 4 of 5, bigrams 2 of 4 ("the cat", "the mat"); 5 tokens against 6.
    candidates, reference = _words("the cat on the mat"), _words("the cat sat upon the mat")
    measured = bleu(candidates, [reference], longest=2)
    assert measured.precisions == (pytest.approx(4 / 5), pytest.approx(2 / 4))
    assert measured.brevity == pytest.approx(math.exp(1 - 6 / 5))
    assert measured.value == pytest.approx(math.exp(-0.2) * math.sqrt(0.4))


def test_bleu_of_a_reference_itself_is_one() -> None:
    sentence = [3, 1, 4, 1, 5, 9]
    assert bleu([sentence], [[sentence, [2, 7]]]).value == pytest.approx(1)


@pytest.mark.parametrize("smooth", [False, True])
def test_bleu_of_a_set_agrees_with_torchmetrics(smooth: bool) -> None:
    candidates = [
        "the small bird sits on a thin branch in the rain",
        "a red bird flies over the old house near the sea",
    ]
    references = [
        ["the small bird sits on the thin branch in heavy rain", "a small bird sits on a branch"],
        ["the red bird flies over the old house by the sea at night"],
    ]
    measured = bleu(
        [each.split() for each in candidates],
        [[each.split() for each in true] for true in references],
        smooth=smooth,
    )
    expected = float(bleu_score(candidates, references, smooth=smooth))
    assert measured.value == pytest.approx(expected, rel=1e-5)
    assert measured.count == 2


def test_the_shorter_of_two_references_as_near_in_length_counts() -> None:
    measured = bleu([[1, 2, 3]], [[[1, 2], [1, 2, 3, 4]]], longest=1)
    assert measured.reference_length == 2
    assert measured.brevity == 1


def test_a_candidate_without_reference_is_refused() -> None:
    with pytest.raises(MetricsError, match="references"):
        bleu([[1]], [])
    with pytest.raises(MetricsError, match=r"references\[0\]"):
        bleu([[1]], [[]])


def test_word_share_counts_words_and_stands_beside_real_texts() -> None:
    score = word_share(["a bird", "a brd"], {"a", "bird"}, ["a bird sings", "a bird"])
    assert score.value == 0.75
    assert score.floor == 0.8
    assert score.detail == {"vocabulary": 2}
    assert score.noted == {"words": 4, "different": 3}


def test_text_without_any_word_has_share_zero_and_no_text_is_refused() -> None:
    assert word_share(["   "], {"a"}).value == 0
    with pytest.raises(MetricsError, match="texts"):
        word_share([], {"a"})
