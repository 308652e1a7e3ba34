"""From a record of an input to what is to be drawn, checked against the model.

Everything that can be wrong with a row is found here, before anything is drawn, and by the same
light code whether this process draws or a service.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from t2i.attributes import check_attributes
from t2i.batch.plan import MAX_COUNT, Model, Plan, fraction, whole
from t2i.batch.records import Record, Unreadable
from t2i.cli_conditions import in_words, kind_of_words
from t2i.codes import check_code, flat_code, named_code
from t2i.conditions import Attributes, Code, Condition, Label, Text
from t2i.encoders.labels import LabelEncoder
from t2i.errors import InvalidInput, shown
from t2i.seeds import LARGEST_SEED, MAX_BEST_OF
from t2i.takes import check_best_of, refusal

__all__ = ["FIELDS", "MAX_ID_CHARACTERS", "Failure", "Row", "RowReader", "derived_seed"]

_KINDS = ("text", "label", "attributes", "code")
FIELDS = (
    "id", "condition", *_KINDS, "count", "seed", "truncation", "conditioning_truncation", "best_of",
)  # fmt: skip
MAX_ID_CHARACTERS = 256
_MOST_PASSED_OVER = 20


@dataclass(frozen=True, slots=True)
class Row:
    """What one row asks for.

    Attributes:
        number: the row's, from 1.
        id: the row's own, or its number.
        condition: what to draw; None with a model that draws by seed alone.
        count: number of pictures.
        seed: of the first picture; the next have the next, and after the largest comes 0.
        truncation: as in `Pipeline.generate`.
        conditioning_truncation: the same.
        caption: the condition in words.
        told: the condition as it can stand in an input's column `condition`.
        best_of: candidates for each picture.
    """

    number: int
    id: str
    condition: Condition | None
    count: int
    seed: int
    truncation: float
    conditioning_truncation: float
    caption: str
    told: Mapping[str, object] | None
    best_of: int = 1

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture."""
        return [(self.seed + index) % (LARGEST_SEED + 1) for index in range(self.count)]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row cannot be drawn.

    Attributes:
        line: where it begins in the input, from 1.
        row: its number, from 1.
        id: its id; None if that cannot be read.
        field: what cannot be used.
        reason: what is wrong with it and what would be right.
    """

    line: int
    row: int
    id: str | None
    field: str
    reason: str


@dataclass(slots=True)
class RowReader:
    """Reads the rows of a job.

    Args:
        plan: the job's.

    Attributes:
        passed_over: names of columns that are none of `FIELDS`, the first twenty.
    """

    plan: Plan
    passed_over: set[str] = field(default_factory=set)
    _labels: LabelEncoder | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if "label" in self.plan.model.conditions:
            self._labels = LabelEncoder(self.plan.model.labels)

    def read(self, record: Record) -> Row | Failure:
        """Return what a record asks for, or why that cannot be drawn."""
        id = None
        try:
            given = self._fields(record)
            id = _id(given["id"]) if "id" in given else str(record.row)
            return self._row(record, id, given)
        except InvalidInput as error:
            reason = f"{error.problem}; {error.remedy}"
            return Failure(record.line, record.row, id, error.field, reason)

    def _row(self, record: Record, id: str, given: Mapping[str, object]) -> Row:
        plan = self.plan
        condition = self._condition(given)
        return Row(
            number=record.row,
            id=id,
            condition=condition,
            count=whole("count", given.get("count", plan.count), 1, MAX_COUNT),
            seed=whole("seed", given["seed"], 0, LARGEST_SEED)
            if "seed" in given
            else derived_seed(plan.seed, id),
            truncation=fraction("truncation", given.get("truncation", plan.truncation)),
            conditioning_truncation=fraction(
                "conditioning_truncation",
                given.get("conditioning_truncation", plan.conditioning_truncation),
            ),
            caption=_caption(condition, plan.model),
            told=_told(condition, plan.model),
            best_of=self._best_of(given),
        )

    def _best_of(self, given: Mapping[str, object]) -> int:
        best_of = whole("best_of", given.get("best_of", self.plan.best_of), 1, MAX_BEST_OF)
        check_best_of(self.plan.model, best_of)
        return best_of

    def _fields(self, record: Record) -> Mapping[str, object]:
        """Return what a record gives; what is null, or an empty cell, is not given."""
        content = record.content
        if isinstance(content, Unreadable):
            raise InvalidInput("row", record.row, *_two(content.reason))
        if isinstance(content, bytes):
            values = _parsed(content, self.plan.input_format == "jsonl")
        else:
            values = content
        empty: tuple[object, ...] = (None, "") if self.plan.input_format == "csv" else (None,)
        given: dict[str, object] = {}
        for name, value in values.items():
            if name in FIELDS:
                if value not in empty:
                    given[name] = value
            elif len(self.passed_over) < _MOST_PASSED_OVER:
                self.passed_over.add(name[:MAX_ID_CHARACTERS])
        return given

    def _condition(self, given: Mapping[str, object]) -> Condition | None:
        named = [name for name in ("condition", *_KINDS) if name in given]
        if len(named) > 1:
            raise InvalidInput(
                "condition", named, f"{' and '.join(named)} are given", "give one of them"
            )
        model = self.plan.model
        if not named:
            return self._taken(None)
        kind, value = named[0], given[named[0]]
        if kind == "condition":
            kind, value = _kind_of(value, model)
        if kind == "text":
            return self._taken(Text(cast("str", value)))
        if isinstance(value, str):
            return self._taken(in_words(kind, value, model))
        if kind == "label":
            return self._taken(Label(id=cast("int", value)))
        if kind == "attributes":
            return self._taken(Attributes(_without_nulls(value)))
        return self._taken(_code(value, model))

    def _taken(self, condition: Condition | None) -> Condition | None:
        """Check that the model can be asked with a condition."""
        model = self.plan.model
        refused = refusal(model, condition)
        if refused is not None:
            raise InvalidInput("condition", condition, *refused)
        if isinstance(condition, Label) and self._labels is not None:
            self._labels.find(condition)
        elif isinstance(condition, Attributes):
            check_attributes(model.attributes, condition)
        elif isinstance(condition, Code):
            check_code(model.code, condition)
        return condition


def derived_seed(job_seed: int, id: str) -> int:
    """Return the seed of a row that has none: from the job's seed and the row's id alone.

    The first 63 bits of a SHA-256. Changing it changes every picture of every such row.
    """
    digest = hashlib.sha256(f"{job_seed}\n{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _parsed(line: bytes, is_json: bool) -> Mapping[str, object]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("row", line, "is not UTF-8", "save the file as UTF-8") from None
    if not is_json:
        return {"condition": text}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(
            "row", text, f"is not JSON{at}", 'give an object such as {"text": "a red bird"}'
        ) from None
    if not isinstance(values, dict):
        raise InvalidInput(
            "row",
            values,
            f"{shown(values)} is no object",
            'give an object such as {"text": "a red bird"}',
        )
    return values


def _id(value: object) -> str:
    remedy = f"give a number, or a text of 1 to {MAX_ID_CHARACTERS} characters"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InvalidInput("id", value, f"{shown(value)} is a {type(value).__name__}", remedy)
    if not value.strip() or len(value) > MAX_ID_CHARACTERS:
        raise InvalidInput("id", value, f"has {len(value.strip())} characters", remedy)
    # Control characters and lone surrogates would break lines and encodings further on.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise InvalidInput("id", value, f"{shown(value)} cannot be printed", remedy)
    return value


def _kind_of(value: object, model: Model) -> tuple[str, object]:
    """Return kind and value of what stands in the column `condition`."""
    given = _object(value)
    if len(given) == 1 and next(iter(given)) in _KINDS:
        return next(iter(given.items()))
    if isinstance(value, str):
        return kind_of_words(model), value
    raise InvalidInput(
        "condition",
        value,
        f"{shown(value)} is no condition",
        f"give words, or an object with one of {', '.join(_KINDS)}",
    )


def _object(value: object) -> dict[str, object]:
    """Return an object without its nulls; in a cell of CSV or Parquet it is written as JSON."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    if not isinstance(value, Mapping):
        return {}
    return {name: told for name, told in value.items() if told is not None}


def _code(value: object, model: Model) -> Code:
    if "code" not in model.conditions:
        # Its parts are not known, so it could not be read; what is wrong is that it is there.
        return Code((0,))
    if isinstance(value, Mapping):
        return named_code(model.code, _without_nulls(value))
    if isinstance(value, Sequence):
        return flat_code(model.code, value)
    raise InvalidInput("code", value, f"{shown(value)} is no code", "give a list of numbers")


def _without_nulls(value: object) -> dict[str, float]:
    # Parquet tells a missing key as null, and a map as a list of pairs. What the rest is, the
    # condition checks.
    if isinstance(value, list) and all(isinstance(v, tuple) and len(v) == 2 for v in value):
        value = dict(value)
    if not isinstance(value, Mapping):
        raise InvalidInput(
            "condition", value, f"{shown(value)} is no mapping", "give names and their values"
        )
    return {name: told for name, told in value.items() if told is not None}


def _told(condition: Condition | None, model: Model) -> dict[str, object] | None:
    match condition:
        case Text(text):
            return {"text": text}
        case Label(name, id):
            return {"label": id if name is None else name}
        case Attributes(values):
            return {"attributes": dict(values)}
        case Code():
            return {"code": _numbers(condition, model)}
        case _:
            return None


def _caption(condition: Condition | None, model: Model) -> str:
    match condition:
        case Text(text):
            return text
        case Label(name, id):
            return model.labels[id or 0] if name is None else name
        case Attributes(values):
            return "; ".join(f"{name}={_written(value)}" for name, value in values.items())
        case Code():
            return ",".join(f"{number:g}" for number in _numbers(condition, model))
        case _:
            return ""


def _numbers(code: Code, model: Model) -> list[int | float]:
    """Return the values of a code in the order of the model's parts."""
    choices, numbers = iter(code.categorical), iter(code.continuous)
    return [
        next(choices) if part.kind == "categorical" else next(numbers)
        for part in model.code
        for _ in range(part.values)
    ]


def _written(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:g}"


def _two(reason: str) -> tuple[str, str]:
    problem, _, remedy = reason.partition("; ")
    return problem, remedy
