from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from t2i.attributes import Attribute
from t2i.cli import main
from t2i.cli_conditions import Words
from t2i.codes import CodePart
from t2i.conditions import Attributes, Code, Label, Text
from t2i.errors import InvalidInput


@dataclass(frozen=True)
class Model:
    conditions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    code: tuple[CodePart, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    name: str = "model"


DIGITS = Model(("label",), labels=("zero", "one", "0", "1999"))
CODES = Model(
    ("code",), code=(CodePart("tilt", "continuous", 1), CodePart("digit", "categorical", 4))
)
BIRDS = Model(("attributes",), attributes=(Attribute("crown", ("red", "blue")),))


def test_words_become_what_the_model_takes() -> None:
    assert Words(caption="a bird").condition(Model(("text",))) == Text("a bird")
    assert Words(code="-0.5, 3").condition(CODES) == Code((3,), (-0.5,))
    assert Words(attributes=("crown = Red",)).condition(BIRDS) == Attributes({"crown": "red"})
    assert Words().condition(Model()) is None
    assert Words().start(CODES) == Code((0,), (0.0,))
    assert Words(code="1,2").start(CODES) == Code((2,), (1.0,))


@pytest.mark.parametrize(
    ("typed", "label"),
    [("one", Label("one")), ("0", Label("0")), ("1", Label(id=1)), ("1999", Label("1999")),
     ("4", Label("4")), ("9" * 40, Label("9" * 40))],
)  # fmt: skip
def test_a_label_is_a_name_before_it_is_a_number(typed: str, label: Label) -> None:
    assert Words(label=typed).condition(DIGITS) == label


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"caption": "a", "label": "b"}, "CAPTION and --label are given; give one of them"),
        ({"caption": " "}, "text: is blank"),
        ({"label": ""}, "label.name: is empty"),
        ({"code": "1,x"}, "code: '1,x' is no list of numbers"),
        ({"code": ""}, "is no list of numbers"),
        ({"code": "nan"}, "code.continuous[0]: nan is not finite"),
        ({"attributes": ("crown",)}, "attribute: 'crown' is no name and value"),
        ({"attributes": ("crown=",)}, "is no name and value; give such as crown=red"),
        ({"attributes": ("a=1", "a=2")}, "a is given twice"),
    ],
)
def test_what_no_model_can_use_is_refused_before_one_is_loaded(
    words: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        Words(**words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "model", "message"),
    [
        ({}, DIGITS, "is required by model; give label (zero, one, 0, 1999)"),
        ({"label": "one"}, Model(), "it draws by seed alone; leave the condition out"),
        ({"code": "1"}, CODES, "code: has 1 values; give 2 (tilt: -1 to 1, digit: 0 to 3)"),
        ({"attributes": ("size=1",)}, BIRDS, "no such attribute; known are crown"),
    ],
)
def test_what_this_model_cannot_use_is_refused_with_what_it_takes(
    words: dict[str, Any], model: Model, message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        Words(**words).condition(model)
    assert message in str(caught.value)


def test_a_sweep_needs_a_model_of_codes_and_no_other_condition() -> None:
    with pytest.raises(InvalidInput, match="code-sweep: model takes no code; give label"):
        Words().start(DIGITS)
    with pytest.raises(InvalidInput, match="goes with --code only"):
        Words(label="one").start(CODES)


@pytest.mark.parametrize(
    "arguments",
    [
        ["a bird", "--label", "one"],
        ["--code", "one"],
        ["--attribute", "crown"],
        ["--code-sweep", "tilt", "--previews"],
        ["a bird", "--steps", "3"],
    ],
)
def test_wrong_use_of_the_command_ends_with_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["generate", *arguments, "--server", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "Error: " in result.stderr
