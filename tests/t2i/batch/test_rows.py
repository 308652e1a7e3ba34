from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from t2i.batch.plan import Plan
from t2i.batch.records import Record, Unreadable
from t2i.batch.rows import Failure, Row, RowReader, derived_seed
from t2i.client import ModelInfo
from t2i.conditions import Attributes, Code, Label, Text
from t2i.errors import InvalidInput
from t2i.seeds import LARGEST_SEED
from tests.t2i.batch.squares import BIRDS, CODES, DIGITS, PLUMAGE, SEEDS


def read(content: Any, model: ModelInfo = BIRDS, form: str = "jsonl", **options: Any) -> Any:
    if isinstance(content, dict) and form == "jsonl":
        content = json.dumps(content).encode()
    plan = Plan(model=model, input_format=form, **options)
    return RowReader(plan).read(Record(7, 9, content))


def test_a_row_has_the_jobs_options_unless_it_has_its_own() -> None:
    row = read({"text": "a bird"}, count=3, seed=5, truncation=0.5)
    assert row == Row(
        number=7, id="7", condition=Text("a bird"), count=3, seed=derived_seed(5, "7"),
        truncation=0.5, conditioning_truncation=1.0, caption="a bird", told={"text": "a bird"},
    )  # fmt: skip
    own = {
        "id": "b",
        "count": 2,
        "seed": LARGEST_SEED,
        "truncation": 0,
        "conditioning_truncation": 0.5,
    }
    row = read({"text": "a bird", **own}, count=3, truncation=0.5)
    assert (row.id, row.count, row.seeds) == ("b", 2, [LARGEST_SEED, 0])
    assert (row.truncation, row.conditioning_truncation) == (0.0, 0.5)


def test_a_derived_seed_depends_on_the_jobs_seed_and_the_id_alone() -> None:
    # Written down: another value would draw other pictures for every job there ever was.
    assert derived_seed(0, "1") == 1102471464949441172
    seeds = {derived_seed(seed, str(id)) for seed in range(20) for id in range(200)}
    assert len(seeds) == 4000 and all(0 <= seed <= LARGEST_SEED for seed in seeds)


def test_nulls_and_empty_cells_are_not_given() -> None:
    assert read({"text": "a", "id": None, "seed": None, "count": None}).id == "7"
    row = read({"text": "a", "id": "", "seed": "", "count": "2"}, form="csv")
    assert (row.id, row.count) == ("7", 2)


def test_numbers_may_be_as_tables_hold_them() -> None:
    row = read({"text": "a", "count": "3.0", "seed": "12", "truncation": "0.5"}, form="csv")
    assert (row.count, row.seed, row.truncation) == (3, 12, 0.5)
    row = read({"text": "a", "count": 3.0, "seed": float(2**53)}, form="parquet")
    assert isinstance(row, Failure) and row.field == "seed"


@pytest.mark.parametrize(
    ("model", "given", "condition", "caption", "told"),
    [
        (BIRDS, {"condition": "a bird"}, Text("a bird"), "a bird", {"text": "a bird"}),
        (BIRDS, {"condition": {"text": "a"}}, Text("a"), "a", {"text": "a"}),
        (DIGITS, {"label": "one"}, Label("one"), "one", {"label": "one"}),
        (DIGITS, {"label": 1}, Label(id=1), "one", {"label": 1}),
        (DIGITS, {"label": "1"}, Label(id=1), "one", {"label": 1}),
        (DIGITS, {"condition": "1999"}, Label("1999"), "1999", {"label": "1999"}),
        (
            PLUMAGE,
            {"attributes": {"crown": "red", "size": 0.5, "tail": None}},
            Attributes({"crown": "red", "size": 0.5}),
            "crown=red; size=0.5",
            {"attributes": {"crown": "red", "size": 0.5}},
        ),
        (
            PLUMAGE,
            {"condition": "size=0.5; crown = RED;"},
            Attributes({"crown": "red", "size": 0.5}),
            "size=0.5; crown=red",
            {"attributes": {"size": 0.5, "crown": "red"}},
        ),
        (CODES, {"code": [0.5, 2]}, Code((2,), (0.5,)), "0.5,2", {"code": [0.5, 2]}),
        (CODES, {"code": {"digit": 2}}, Code((2,), (0.0,)), "0,2", {"code": [0.0, 2]}),
        (CODES, {"code": "0.5,2"}, Code((2,), (0.5,)), "0.5,2", {"code": [0.5, 2]}),
        (SEEDS, {}, None, "", None),
    ],
)
def test_every_way_to_write_a_condition(
    model: ModelInfo, given: Any, condition: Any, caption: str, told: Any
) -> None:
    row = read(given, model)
    assert isinstance(row, Row), row
    assert (row.condition, row.caption, row.told) == (condition, caption, told)
    again = read({"condition": told}, model)
    assert again.condition == condition, "what is told of a picture can be asked for again"


@pytest.mark.parametrize("form", ["csv", "parquet", "text"])
def test_an_object_in_a_cell_is_json(form: str) -> None:
    told = '{"attributes": {"crown": "red", "size": 0.5}}'
    content = told.encode() if form == "text" else {"condition": told}
    assert read(content, PLUMAGE, form).condition == Attributes({"crown": "red", "size": 0.5})
    words = "{a bird}"
    content = words.encode() if form == "text" else {"condition": words}
    assert read(content, BIRDS, form).condition == Text(words)


@pytest.mark.parametrize(
    ("model", "given", "field", "reason"),
    [
        (BIRDS, {}, "condition", "is required by squares; give text"),
        (BIRDS, {"text": ""}, "text", "is empty"),
        (BIRDS, {"text": "a" * 513}, "text", "has 513 characters"),
        (BIRDS, {"text": 3}, "text", "is a int"),
        (BIRDS, {"text": "a\ud800"}, "text", "surrogate"),
        (BIRDS, {"text": "a", "label": 1}, "condition", "text and label are given"),
        (BIRDS, {"label": 1}, "condition", "squares takes no label; give text"),
        (BIRDS, {"code": [1]}, "condition", "squares takes no code"),
        (BIRDS, {"condition": 3}, "condition", "3 is no condition"),
        (BIRDS, {"condition": {"text": "a", "label": 1}}, "condition", "is no condition"),
        (SEEDS, {"text": "a"}, "condition", "takes no text, it draws by seed alone"),
        (DIGITS, {"label": "two"}, "label.name", "no class is named 'two'"),
        (DIGITS, {"label": 3}, "label.id", "no class has number 3; give 0 to 2"),
        (DIGITS, {"label": True}, "label.id", "is not a whole number"),
        (PLUMAGE, {"attributes": {"crown": "red"}}, "attributes", "size is missing"),
        (PLUMAGE, {"attributes": 3}, "condition", "is no mapping"),
        (PLUMAGE, {"attributes": "crown"}, "attribute", "is no name and value"),
        (CODES, {"code": [0.5]}, "code", "has 1 values; give 2"),
        (CODES, {"code": 3}, "code", "is no code"),
        (CODES, {"code": {"digit": 3}}, "code.categorical[0]", "digit has no category 3"),
        (BIRDS, {"text": "a", "count": 0}, "count", "0 is out of range; give 1 to 1024"),
        (BIRDS, {"text": "a", "count": True}, "count", "is not a whole number"),
        (BIRDS, {"text": "a", "count": "many"}, "count", "'many' is not a whole number"),
        (BIRDS, {"text": "a", "seed": -1}, "seed", "out of range"),
        (BIRDS, {"text": "a", "seed": 2**63}, "seed", "out of range"),
        (BIRDS, {"text": "a", "seed": 1.5}, "seed", "is not a whole number"),
        (BIRDS, {"text": "a", "truncation": 2}, "truncation", "out of range; give 0 to 1"),
        (BIRDS, {"text": "a", "truncation": "x"}, "truncation", "out of range"),
        (BIRDS, {"text": "a", "id": ""}, "id", "has 0 characters"),
        (BIRDS, {"text": "a", "id": "b" * 257}, "id", "has 257 characters"),
        (BIRDS, {"text": "a", "id": "a\nb"}, "id", "cannot be printed"),
        (BIRDS, {"text": "a", "id": 1.5}, "id", "is a float"),
    ],
)
def test_a_row_that_cannot_be_drawn_names_field_and_reason(
    model: ModelInfo, given: Any, field: str, reason: str
) -> None:
    failure = read(given, model)
    assert isinstance(failure, Failure), failure
    assert (failure.line, failure.row, failure.field) == (9, 7, field)
    assert reason in failure.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"text": "a"', "is not JSON at column 13; give an object such as"),
        (b'["a"]', "['a'] is no object"),
        (b"[" * 100_000, "is not JSON"),
        (b"1" * 5000, "is not JSON"),
        (b"\xff", "is not UTF-8; save the file as UTF-8"),
        (Unreadable("is too long; make it shorter"), "is too long; make it shorter"),
    ],
)
def test_a_line_that_is_no_row_says_so(content: Any, reason: str) -> None:
    failure = read(content)
    assert isinstance(failure, Failure) and (failure.field, failure.id) == ("row", None)
    assert reason in failure.reason


def test_a_failure_tells_the_id_if_it_can_be_read() -> None:
    assert read({"id": "b7", "text": ""}).id == "b7"
    assert read({"text": ""}).id == "7"


def test_columns_that_mean_nothing_are_passed_over_and_told() -> None:
    reader = RowReader(Plan(model=BIRDS, input_format="parquet"))
    row = reader.read(Record(1, 1, {"text": "a", "truncatoin": 0.5, "file_name": "b.png"}))
    assert isinstance(row, Row) and row.truncation == 1.0
    assert reader.passed_over == {"truncatoin", "file_name"}
    reader.read(Record(2, 2, {f"column {n}": n for n in range(100)}))
    assert len(reader.passed_over) == 20


def test_only_a_model_with_a_scorer_chooses() -> None:
    row = read({"text": "a", "best_of": 4}, replace(BIRDS, has_scorer=True))
    assert isinstance(row, Row) and row.best_of == 4
    assert read({"text": "a"}, replace(BIRDS, has_scorer=True), best_of=3).best_of == 3
    refused = read({"text": "a", "best_of": 2})
    assert isinstance(refused, Failure) and refused.field == "best_of"
    assert "no scorer" in refused.reason
    refused = read({"text": "a", "best_of": 17}, replace(BIRDS, has_scorer=True))
    assert isinstance(refused, Failure) and "1 to 16" in refused.reason
    with pytest.raises(InvalidInput, match="best_of"):
        read({"text": "a"}, best_of=2)
