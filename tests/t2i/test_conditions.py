from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from t2i.conditions import (
    MAX_OBJECTS,
    MAX_TEXT_CHARACTERS,
    Attributes,
    Code,
    Condition,
    Label,
    Layout,
    LayoutObject,
    Picture,
    Relation,
    SceneGraph,
    Text,
    as_condition,
    as_condition_or_none,
)
from t2i.errors import InvalidInput, T2IError, shown

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8

VALID: list[Condition] = [
    Text("small bird with red head"),
    Text("x" * MAX_TEXT_CHARACTERS),
    Label(name="sparrow"),
    Label(id=0),
    Attributes({"crown": "red", "crest": True, "size": 0.5}),
    Picture(PNG),
    Picture(b"\xff\xd8\xff\xe0"),
    Picture(b"RIFF\0\0\0\0WEBPVP8 "),
    Layout((LayoutObject("bird", (0.0, 0.0, 0.5, 1.0)),)),
    SceneGraph(("bird", "branch"), (Relation(0, "on", 1),)),
    Code(categorical=(3, 0), continuous=(-1.5,)),
]


@pytest.mark.parametrize("condition", VALID, ids=lambda condition: condition.kind)
def test_a_valid_condition_survives_pickling_and_can_be_a_key(condition: Condition) -> None:
    again = pickle.loads(pickle.dumps(condition))
    assert again == condition
    assert {condition: 1}[again] == 1


@pytest.mark.parametrize(
    ("make", "field", "words"),
    [
        (lambda: Text(""), "text", "is empty"),
        (lambda: Text(" \n\t"), "text", "is blank"),
        (lambda: Text("x" * (MAX_TEXT_CHARACTERS + 1)), "text", "513 characters"),
        (lambda: Text("bird \ud83d"), "text", "surrogate"),
        (lambda: Text(7), "text", "is a int"),
        (lambda: Label(), "label", "neither"),
        (lambda: Label("sparrow", 3), "label", "both"),
        (lambda: Label(id=-1), "label.id", "out of range"),
        (lambda: Label(id=True), "label.id", "not a whole number"),
        (lambda: Label(name=" "), "label.name", "is blank"),
        (lambda: Attributes({}), "attributes", "0 attributes"),
        (lambda: Attributes({"size": float("nan")}), "attributes[size]", "not finite"),
        (lambda: Attributes({"size": None}), "attributes[size]", "not a number"),
        (lambda: Attributes(["size"]), "attributes", "is a list"),
        (lambda: Picture(b""), "picture", "not a picture file"),
        (lambda: Picture("bird.png"), "picture", "is a str"),
        (lambda: Picture(PNG + bytes(4 * 1024 * 1024)), "picture", "bytes"),
        (lambda: Layout(()), "layout.objects", "0 objects"),
        (lambda: Layout(("bird",)), "layout.objects[0]", "is a str"),
        (lambda: LayoutObject("bird", (0.5, 0, 0.5, 1)), "layout.box", "not a box"),
        (lambda: LayoutObject("bird", (0, 0, 1, 1.5)), "layout.box", "not a box"),
        (lambda: LayoutObject("bird", (0, 0, 1)), "layout.box", "not a box"),
        (lambda: SceneGraph(("a",) * (MAX_OBJECTS + 1)), "scene_graph.objects", "33 objects"),
        (
            lambda: SceneGraph(("a", "b"), (Relation(0, "on", 2),)),
            "scene_graph.relations[0].object",
            "out of range",
        ),
        (lambda: Relation(0, "", 1), "relation.predicate", "is empty"),
        (lambda: Code(), "code", "0 values"),
        (lambda: Code(continuous=(float("inf"),)), "code.continuous[0]", "not finite"),
        (lambda: Code(continuous=(10**400,)), "code.continuous[0]", "not finite"),
        (lambda: Code(categorical=(1.5,)), "code.categorical[0]", "not a whole number"),
        (lambda: as_condition(b"bird"), "condition", "is a bytes"),
        (lambda: as_condition(""), "text", "is empty"),
    ],
)
def test_an_invalid_condition_names_its_field_and_a_remedy(make, field, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidInput) as caught:
        make()
    error = caught.value
    assert error.field == field
    assert words in error.problem
    assert str(error) == f"{field}: {error.problem}; {error.remedy}"
    assert "\n" not in str(error)
    str(error).encode("utf-8")


def test_words_become_a_text_and_conditions_stay_as_they_are() -> None:
    assert as_condition("a bird") == Text("a bird")
    label = Label(id=2)
    assert as_condition(label) is label
    assert as_condition_or_none("a bird") == Text("a bird")
    assert as_condition_or_none(None) is None


def test_attributes_do_not_change_with_the_mapping_they_were_made_of() -> None:
    values: dict[str, str | bool | float] = {"crown": "red"}
    attributes = Attributes(values)
    values["crown"] = ""
    assert attributes.values == {"crown": "red"}


def test_an_invalid_input_survives_pickling_and_is_a_value_error() -> None:
    error = pickle.loads(pickle.dumps(InvalidInput("count", 99, "is 99", "give 1 to 16")))
    assert isinstance(error, T2IError)
    assert isinstance(error, ValueError)
    assert (error.field, error.value, error.remedy) == ("count", 99, "give 1 to 16")


def test_a_shown_value_is_short_and_on_one_line() -> None:
    assert shown(b"abc") == "<3 bytes>"
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 1000)) == 60


def test_conditions_and_errors_load_without_torch_and_numpy() -> None:
    code = (
        "import sys, t2i, t2i.conditions, t2i.errors\n"
        "from t2i import Text, InvalidInput\n"
        "assert t2i.__version__ and 'Pipeline' in dir(t2i)\n"
        "heavy = {'torch', 'numpy', 'transformers', 'PIL', 'grpc'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    import t2i

    with pytest.raises(AttributeError, match="Painter"):
        _ = t2i.Painter
