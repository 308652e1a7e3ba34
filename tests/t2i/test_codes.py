from __future__ import annotations

from collections.abc import Callable

import pytest

from t2i.codes import CodePart, check_parts, default_code, flat_code, named_code, sweep_codes
from t2i.conditions import Code
from t2i.errors import InvalidInput

DIGIT = CodePart("digit", "categorical", 10)
TILT = CodePart("tilt", "continuous", 1, -1, 2)
SHAPE = CodePart("shape", "categorical", 2)
POSE = CodePart("pose", "continuous", 2, 0, 1)
PARTS = (TILT, DIGIT, POSE, SHAPE)


def test_a_code_by_name_fills_what_is_left_out_with_the_first_and_the_middle() -> None:
    assert default_code(PARTS) == Code((0, 0), (0.5, 0.5, 0.5))
    assert named_code(PARTS, {}) == default_code(PARTS)
    named = named_code(PARTS, {"shape": 1, "pose": [0.25, 1], "tilt": 2})
    assert named == Code((0, 1), (2.0, 0.25, 1.0))


def test_numbers_are_read_in_the_order_of_the_parts() -> None:
    assert flat_code(PARTS, [-1, 7.0, 0, 1, 1]) == Code((7, 1), (-1.0, 0.0, 1.0))


def test_a_sweep_of_a_category_takes_each_and_of_a_range_both_its_ends() -> None:
    digits = sweep_codes(PARTS, "digit")
    assert [code.categorical for code in digits] == [(n, 0) for n in range(10)]
    assert {code.continuous for code in digits} == {(0.5, 0.5, 0.5)}
    start = Code((3, 1), (0, 0, 0))
    tilts = sweep_codes(PARTS, "tilt", start=start, steps=4)
    assert [code.continuous[0] for code in tilts] == [-1.0, 0.0, 1.0, 2.0]
    assert {code.categorical for code in tilts} == {(3, 1)}
    assert [code.continuous for code in sweep_codes(PARTS, "pose[1]", start=start, steps=2)] == [
        (0, 0, 0.0), (0, 0, 1.0),
    ]  # fmt: skip
    assert len(sweep_codes(PARTS, "tilt")) == 8


BAD: list[tuple[Callable[[], object], str, str]] = [
    (lambda: CodePart("", "categorical", 2), "name", "give a text"),
    (lambda: CodePart(" ", "categorical", 2), "name", "give a text"),
    (lambda: CodePart("x" * 129, "categorical", 2), "name", "at most 128"),
    (lambda: CodePart("a", "other", 2), "kind", "give categorical or continuous"),  # type: ignore[arg-type]
    (lambda: CodePart("a", "categorical", 1), "size", "give 2 to"),
    (lambda: CodePart("a", "continuous", 0), "size", "give 1 to 256"),
    (lambda: CodePart("a", "continuous", True), "size", "give 1 to 256"),
    (lambda: CodePart("a", "continuous", 1, 1, 0), "low", "low less than high"),
    (lambda: CodePart("a", "continuous", 1, 0, float("nan")), "low", "finite"),
    (lambda: check_parts([]), "code", "describe"),
    (lambda: check_parts([TILT, TILT]), "code", "name each part once"),
    (lambda: check_parts([CodePart("a", "continuous", 256), TILT]), "code", "has 257 values"),
    (lambda: named_code(PARTS, {"wings": 1}), "part", "give one of tilt: -1 to 2, digit: 0 to 9"),
    (lambda: named_code(PARTS, {"pose": 1}), "code[pose]", "give 2 numbers"),
    (lambda: named_code(PARTS, {"pose": [1]}), "code[pose]", "give 2"),
    (lambda: named_code(PARTS, {"digit": 1.5}), "code[digit]", "a whole number from 0 to 9"),
    (lambda: named_code(PARTS, {"digit": -1}), "code[digit]", "a whole number from 0 to 9"),
    (lambda: named_code(PARTS, {"tilt": "up"}), "code[tilt]", "is no number"),  # type: ignore[dict-item]
    (lambda: flat_code(PARTS, [float("nan"), 0, 0, 0, 0]), "code.continuous[0]", "finite"),
    (lambda: flat_code(PARTS, [0, float("inf"), 0, 0, 0]), "code[digit]", "is no category"),
    (lambda: flat_code(PARTS, [1, 2]), "code", "give 5 (tilt"),
    (lambda: flat_code(PARTS, [0, 10, 0, 0, 0]), "code.categorical[0]", "give 0 to 9"),
    (lambda: flat_code(PARTS, [-2, 0, 0, 0, 0]), "code.continuous[0]", "give -1 to 2"),
    (lambda: sweep_codes(PARTS, "pose"), "part", "name one of them, pose[0] to pose[1]"),
    (lambda: sweep_codes(PARTS, "pose[2]"), "part", "give one of"),
    (lambda: sweep_codes(PARTS, "digit[0]"), "part", "give one of"),
    (lambda: sweep_codes((), "tilt"), "part", "ask a model that takes a code"),
    (lambda: sweep_codes(PARTS, "digit", steps=3), "steps", "leave it out"),
    (lambda: sweep_codes(PARTS, "tilt", steps=1), "steps", "give 2 to 1024"),
    (lambda: sweep_codes(PARTS, "tilt", start=Code((1,))), "code.categorical", "give 2 (digit"),
]


@pytest.mark.parametrize(("ask", "field", "words"), BAD)
def test_what_is_wrong_is_named_with_what_would_be_right(
    ask: Callable[[], object], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask()
    assert caught.value.field == field
    assert words in str(caught.value)
