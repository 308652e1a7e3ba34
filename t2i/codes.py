"""What a model's latent code consists of, and codes made by name, by numbers, and by sweeping.

A model that found its own factors (InfoGAN: Chen et al., 2016, arXiv:1606.03657) is asked with one
choice for each categorical part and a number for each continuous one. This module loads without
torch and without numpy, so that a client can make codes for a model of a service.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from t2i.conditions import MAX_CODE_VALUES, MAX_NAME_CHARACTERS, Code
from t2i.errors import InvalidInput, shown

__all__ = [
    "DEFAULT_STEPS",
    "MAX_STEPS",
    "CodePart",
    "CodePartKind",
    "check_code",
    "check_parts",
    "check_range",
    "check_steps",
    "default_code",
    "flat_code",
    "named_code",
    "sweep_codes",
]

CodePartKind = Literal["categorical", "continuous"]

MAX_CATEGORIES = 65536
DEFAULT_STEPS = 8
MAX_STEPS = 1024

_T = TypeVar("_T")
_ONE_OF_SEVERAL = re.compile(r"(.+)\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class CodePart:
    """One part of a code.

    Attributes:
        name: what people call it; 1 to 128 characters.
        kind: `"categorical"`: one choice of `size`; `"continuous"`: `size` numbers.
        size: categories, 2 or more; or numbers, 1 or more.
        low: least value of a continuous part. Of a categorical part always 0, as in its one-hot
            block.
        high: greatest value of a continuous part. Of a categorical part always 1.

    Raises:
        InvalidInput: if a value is not one of these.
    """

    name: str
    kind: CodePartKind
    size: int
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name.strip()) <= len(self.name):
            raise InvalidInput("name", self.name, f"{shown(self.name)} is no name", "give a text")
        if len(self.name) > MAX_NAME_CHARACTERS:
            raise InvalidInput(
                "name",
                self.name,
                f"has {len(self.name)} characters",
                f"give at most {MAX_NAME_CHARACTERS}",
            )
        if self.kind not in ("categorical", "continuous"):
            raise InvalidInput(
                "kind",
                self.kind,
                f"{shown(self.kind)} is unknown",
                "give categorical or continuous",
            )
        least = 2 if self.kind == "categorical" else 1
        most = MAX_CATEGORIES if self.kind == "categorical" else MAX_CODE_VALUES
        if type(self.size) is not int or not least <= self.size <= most:
            raise InvalidInput(
                "size",
                self.size,
                f"{shown(self.size)} is out of range",
                f"give {least} to {most} for a {self.kind} part",
            )
        if self.kind == "categorical":
            object.__setattr__(self, "low", 0.0)
            object.__setattr__(self, "high", 1.0)
            return
        low, high = check_range(self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def values(self) -> int:
        """How many values it is asked with: 1 choice, or `size` numbers."""
        return 1 if self.kind == "categorical" else self.size

    @property
    def middle(self) -> float:
        """The value halfway between `low` and `high`."""
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        if self.kind == "categorical":
            return f"{self.name}: 0 to {self.size - 1}"
        several = f", {self.size} numbers" if self.size > 1 else ""
        return f"{self.name}: {self.low:g} to {self.high:g}{several}"


def check_range(low: object, high: object) -> tuple[float, float]:
    """Return the two ends of a range as floats.

    Raises:
        InvalidInput: if they are not two finite numbers, the lower first.
    """
    ends = [end for end in (low, high) if isinstance(end, int | float) and type(end) is not bool]
    if len(ends) != 2 or not -1e300 < ends[0] < ends[1] < 1e300:
        raise InvalidInput(
            "low",
            (low, high),
            f"{shown(low)} to {shown(high)} is no range",
            "give two finite numbers, low less than high",
        )
    return float(ends[0]), float(ends[1])


def check_parts(parts: Sequence[CodePart]) -> None:
    """Check that a code of these parts can be asked with.

    Raises:
        InvalidInput: if there is no part, two have one name, or they need more values than a `Code`
            may have.
    """
    names = [part.name for part in parts]
    if not parts:
        raise InvalidInput("code", [], "has no parts", "describe each part of the code")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput("code", twice, f"{shown(twice)} occurs twice", "name each part once")
    values = sum(part.values for part in parts)
    if values > MAX_CODE_VALUES:
        raise InvalidInput("code", values, f"has {values} values", f"give 1 to {MAX_CODE_VALUES}")


def check_code(parts: Sequence[CodePart], code: Code) -> None:
    """Check that a code has what the parts say.

    Raises:
        InvalidInput: if it has too few or too many values, or one is out of its range; names it.
    """
    choices = _categorical(parts)
    numbers = _continuous(parts)
    _check_length("code.categorical", code.categorical, choices, "choices")
    _check_length("code.continuous", code.continuous, numbers, "numbers")
    for index, (part, choice) in enumerate(zip(choices, code.categorical, strict=True)):
        if choice >= part.size:
            raise InvalidInput(
                f"code.categorical[{index}]",
                choice,
                f"{part.name} has no category {choice}",
                f"give 0 to {part.size - 1}",
            )
    for index, (part, number) in enumerate(zip(numbers, code.continuous, strict=True)):
        if not part.low <= number <= part.high:
            raise InvalidInput(
                f"code.continuous[{index}]",
                number,
                f"{number:g} is out of the range of {part.name}",
                f"give {part.low:g} to {part.high:g}",
            )


def default_code(parts: Sequence[CodePart]) -> Code:
    """Return the code of every first category and the middle of every range."""
    return Code((0,) * len(_categorical(parts)), tuple(part.middle for part in _continuous(parts)))


def named_code(parts: Sequence[CodePart], values: Mapping[str, float | Sequence[float]]) -> Code:
    """Return a code from values by the names of its parts.

    Args:
        parts: the model's, such as `pipeline.info.code` or `client.get_model().code`.
        values: a whole number for a categorical part; a number, or `size` numbers, for a continuous
            one. A part that is left out has its first category, or the middle of its range.

    Raises:
        InvalidInput: if there is no part of a name, or a value is not one of the part's.
    """
    known = {part.name: part for part in parts}
    for name in values:
        if name not in known:
            raise _no_part(parts, name)
    numbers: list[object] = []
    for part in parts:
        value = values.get(part.name)
        if value is None:
            numbers += [0 if part.kind == "categorical" else part.middle] * part.values
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) != part.values:
                raise InvalidInput(
                    f"code[{part.name}]",
                    value,
                    f"has {len(value)} numbers",
                    f"give {part.values}",
                )
            numbers += value
        elif part.values == 1:
            numbers.append(value)
        else:
            raise InvalidInput(
                f"code[{part.name}]", value, "is one number", f"give {part.values} numbers"
            )
    return flat_code(parts, numbers)


def flat_code(parts: Sequence[CodePart], numbers: Sequence[object]) -> Code:
    """Return a code from its values in the order of the parts.

    Raises:
        InvalidInput: if there are too few or too many, or one is not a value of its part.
    """
    wanted = sum(part.values for part in parts)
    if len(numbers) != wanted:
        raise InvalidInput(
            "code", numbers, f"has {len(numbers)} values", f"give {wanted} ({_listed(parts)})"
        )
    rest = list(numbers)
    categorical: list[int] = []
    continuous: list[float] = []
    for part in parts:
        for _ in range(part.values):
            number = rest.pop(0)
            if not isinstance(number, int | float) or isinstance(number, bool):
                raise InvalidInput(
                    f"code[{part.name}]", number, f"{shown(number)} is no number", f"give {part}"
                )
            if part.kind == "continuous":
                # The condition checks that it is finite, and makes it a float.
                continuous.append(number)
            elif 0 <= number < math.inf and number == int(number):
                categorical.append(int(number))
            else:
                raise InvalidInput(
                    f"code[{part.name}]",
                    number,
                    f"{shown(number)} is no category",
                    f"give a whole number from 0 to {part.size - 1}",
                )
    code = Code(tuple(categorical), tuple(continuous))
    check_code(parts, code)
    return code


def sweep_codes(
    parts: Sequence[CodePart],
    name: str,
    *,
    start: Code | None = None,
    steps: int | None = None,
) -> tuple[Code, ...]:
    """Return codes that differ in one part, which goes through its categories or its range.

    Args:
        parts: the model's.
        name: the part; of a part of several numbers one of them, such as `"pose[1]"`.
        start: the values of the other parts; None for the first categories and the middles.
        steps: codes along the range of a continuous part, its ends included, 2 to `MAX_STEPS`;
            None for `DEFAULT_STEPS`. A categorical part gives one code for each category.

    Raises:
        InvalidInput: if there is no such part, the start is not a code of these parts, or the
            steps are out of range or given for a categorical part.
    """
    part, offset = _found(parts, name)
    if start is None:
        start = default_code(parts)
    check_code(parts, start)
    if part.kind == "categorical":
        if steps is not None:
            raise InvalidInput(
                "steps", steps, f"{part.name} has a picture for each category", "leave it out"
            )
        place = _categorical(parts).index(part)
        return tuple(
            Code(_with(start.categorical, place, choice), start.continuous)
            for choice in range(part.size)
        )
    steps = DEFAULT_STEPS if steps is None else check_steps(steps)
    place = _continuous(parts).index(part) + offset
    width = part.high - part.low
    values = [part.low + width * step / (steps - 1) for step in range(steps - 1)] + [part.high]
    return tuple(Code(start.categorical, _with(start.continuous, place, value)) for value in values)


def check_steps(steps: object) -> int:
    """Return a number of steps.

    Raises:
        InvalidInput: if it is not a whole number from 2 to `MAX_STEPS`.
    """
    if not isinstance(steps, int) or isinstance(steps, bool) or not 2 <= steps <= MAX_STEPS:
        raise InvalidInput(
            "steps", steps, f"{shown(steps)} is out of range", f"give 2 to {MAX_STEPS}"
        )
    return steps


def _categorical(parts: Sequence[CodePart]) -> list[CodePart]:
    return [part for part in parts if part.kind == "categorical"]


def _continuous(parts: Sequence[CodePart]) -> list[CodePart]:
    """Return the part of each number, in order."""
    return [part for part in parts if part.kind == "continuous" for _ in range(part.size)]


def _found(parts: Sequence[CodePart], name: str) -> tuple[CodePart, int]:
    """Return a part and which of its numbers is meant."""
    known = {part.name: part for part in parts}
    if name in known:
        part = known[name]
        if part.kind == "continuous" and part.size > 1:
            raise InvalidInput(
                "part",
                name,
                f"{name} has {part.size} numbers",
                f"name one of them, {name}[0] to {name}[{part.size - 1}]",
            )
        return part, 0
    one = _ONE_OF_SEVERAL.fullmatch(name) if isinstance(name, str) else None
    if one is not None and one[1] in known:
        part, offset = known[one[1]], int(one[2])
        if part.kind == "continuous" and offset < part.size:
            return part, offset
    raise _no_part(parts, name)


def _no_part(parts: Sequence[CodePart], name: object) -> InvalidInput:
    remedy = f"give one of {_listed(parts)}" if parts else "ask a model that takes a code"
    return InvalidInput("part", name, f"no part of the code is named {shown(name)}", remedy)


def _listed(parts: Sequence[CodePart]) -> str:
    return ", ".join(map(str, parts))


def _check_length(
    field: str, values: Sequence[float], parts: Sequence[CodePart], what: str
) -> None:
    if len(values) != len(parts):
        names = ", ".join(dict.fromkeys(map(str, parts)))
        remedy = f"give {len(parts)} ({names})" if parts else "give none"
        raise InvalidInput(field, values, f"has {len(values)} {what}", remedy)


def _with(values: tuple[_T, ...], place: int, value: _T) -> tuple[_T, ...]:
    return (*values[:place], value, *values[place + 1 :])
