from __future__ import annotations

from collections.abc import Callable

import pytest

from t2i.attributes import Attribute, check_attributes, check_schema, read_attributes
from t2i.conditions import Attributes
from t2i.errors import InvalidInput

CROWN = Attribute("crown", ("red", "Blue"))
CREST = Attribute("crest", (False, True))
TOES = Attribute("toes", (3, 4))
SIZE = Attribute("size", low=-1, high=2)
SCHEMA = (CROWN, CREST, TOES, SIZE)


def test_what_a_person_writes_becomes_the_value_that_the_model_knows() -> None:
    words = {"size": "0.5", "toes": "4", "crest": "True", "crown": "blue"}
    assert read_attributes(SCHEMA, words) == Attributes(
        {"size": 0.5, "toes": 4, "crest": True, "crown": "Blue"}
    )


def test_truth_values_and_numbers_are_not_taken_for_each_other() -> None:
    mixed = Attribute("a", (True, 1, "1"))
    assert [mixed.find(value) for value in (1, True, "1", 1.0)] == [1, 0, 2, 1]


def test_texts_are_found_in_any_case_and_the_length_is_one_for_each_value() -> None:
    assert [CROWN.find("RED"), CROWN.find("blue")] == [0, 1]
    assert [attribute.dim for attribute in SCHEMA] == [2, 2, 2, 1]


BAD: list[tuple[Callable[[], object], str, str]] = [
    (lambda: Attribute(""), "attributes", "is empty"),
    (lambda: Attribute("a", ("red",)), "values", "give 2 to"),
    (lambda: Attribute("a", ("red", "RED")), "values", "each value once"),
    (lambda: Attribute("a", ("red", None)), "attributes[a]", "finite number"),  # type: ignore[arg-type]
    (lambda: Attribute("a", low=1, high=1), "low", "low less than high"),
    (lambda: check_schema([]), "attributes", "give 1 to 64"),
    (lambda: check_schema([CROWN, CROWN]), "attributes", "name each attribute once"),
    (lambda: read_attributes(SCHEMA, {"wing": "red"}), "attributes[wing]", "known are crown, cr"),
    (lambda: read_attributes(SCHEMA, {"crown": "red"}), "attributes", "crest, toes, size is miss"),
    (lambda: read_attributes(SCHEMA, {"crown": "2"}), "attributes[crown]", "give crown: red, Blue"),
    (lambda: read_attributes(SCHEMA, {"size": "big"}), "attributes[size]", "give size: -1 to 2"),
    (lambda: read_attributes(SCHEMA, {"size": "nan"}), "attributes[size]", "give size: -1 to 2"),
    (lambda: read_attributes(SCHEMA, {"size": "3"}), "attributes[size]", "give size: -1 to 2"),
    (lambda: read_attributes(SCHEMA, {"size": "-1.1"}), "attributes[size]", "give size: -1 to 2"),
    (lambda: check_attributes([SIZE], Attributes({"size": True})), "attributes[size]", "-1 to 2"),
    (lambda: check_attributes([CREST], Attributes({"crest": 1})), "attributes[crest]", "false, tr"),
]


@pytest.mark.parametrize(("ask", "field", "words"), BAD)
def test_what_is_wrong_is_named_with_what_would_be_right(
    ask: Callable[[], object], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask()
    assert caught.value.field == field
    assert words in str(caught.value)
