"""What attributes a model is asked with, and attributes checked against them.

This module loads without torch and without numpy, so that a client can check attributes for a model
of a service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from t2i.codes import check_range
from t2i.conditions import MAX_ATTRIBUTES, MAX_NAME_CHARACTERS, Attributes
from t2i.errors import InvalidInput, shown

__all__ = ["Attribute", "AttributeValue", "check_attributes", "check_schema", "read_attributes"]

AttributeValue = str | bool | float

MAX_VALUES = 1024


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: a choice of values, or a number in a range.

    Attributes:
        name: 1 to 128 characters.
        values: what it can be, 2 or more and no two alike: texts, truth values, or numbers; empty
            for a number in a range.
        low: least number of a range. Of a choice always 0, as in its one-hot block.
        high: greatest number of a range. Of a choice always 1.

    Raises:
        InvalidInput: if a value is not one of these.
    """

    name: str
    values: tuple[AttributeValue, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        # The condition's own checks are those of a name and of each value.
        values = tuple(self.values)
        for value in values or (0.0,):
            Attributes({self.name: value})
        if values:
            if not 2 <= len(values) <= MAX_VALUES:
                raise InvalidInput(
                    "values", values, f"has {len(values)} values", f"give 2 to {MAX_VALUES}"
                )
            if len({_key(value) for value in values}) != len(values):
                raise InvalidInput("values", values, "has one value twice", "give each value once")
            object.__setattr__(self, "values", values)
        low, high = (0.0, 1.0) if values else check_range(self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def dim(self) -> int:
        """Numbers in the embedding: one for each value, or one for a range."""
        return len(self.values) or 1

    def find(self, value: AttributeValue) -> int:
        """Return the place of a value in `values`; texts in upper and lower case alike.

        Raises:
            InvalidInput: if it is none of them.
        """
        keys = [_key(known) for known in self.values]
        if _key(value) not in keys:
            raise self._refused(value)
        return keys.index(_key(value))

    def number(self, value: AttributeValue) -> float:
        """Return a value of a range.

        Raises:
            InvalidInput: if it is not a number in the range.
        """
        if isinstance(value, str | bool) or not self.low <= value <= self.high:
            raise self._refused(value)
        return float(value)

    def read(self, words: str) -> AttributeValue:
        """Return the value that a person wrote: `"red"`, `"true"`, `"0.5"`.

        Raises:
            InvalidInput: if it is not one of the attribute's.
        """
        for value in self.values:
            if words.casefold() == _written(value).casefold():
                return value
        try:
            number = float(words)
        except ValueError:
            raise self._refused(words) from None
        if self.values:
            return self.values[self.find(number)]
        return self.number(number)

    def __str__(self) -> str:
        if not self.values:
            return f"{self.name}: {self.low:g} to {self.high:g}"
        shown_values = ", ".join(_written(value) for value in self.values[:12])
        more = len(self.values) - 12
        return f"{self.name}: {shown_values}" + (f" and {more} more" if more > 0 else "")

    def _refused(self, value: object) -> InvalidInput:
        return InvalidInput(
            f"attributes[{self.name}]", value, f"{shown(value)} is not known", f"give {self}"
        )


def check_schema(attributes: Sequence[Attribute]) -> None:
    """Check that a model can be asked with these attributes.

    Raises:
        InvalidInput: if there are none, too many for a condition, or two of one name.
    """
    names = [attribute.name for attribute in attributes]
    if not 1 <= len(names) <= MAX_ATTRIBUTES:
        raise InvalidInput(
            "attributes", names, f"has {len(names)} attributes", f"give 1 to {MAX_ATTRIBUTES}"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(
            "attributes", twice, f"{shown(twice)} occurs twice", "name each attribute once"
        )


def check_attributes(schema: Sequence[Attribute], condition: Attributes) -> None:
    """Check that every attribute is there once, with a value of its own.

    Raises:
        InvalidInput: if one is missing or not known, or a value is not one of its attribute's.
    """
    known = {attribute.name: attribute for attribute in schema}
    for name in condition.values:
        if name not in known:
            raise _unknown(schema, name)
    missing = [attribute for name, attribute in known.items() if name not in condition.values]
    if missing:
        raise InvalidInput(
            "attributes",
            condition.values,
            f"{', '.join(attribute.name for attribute in missing)} is missing",
            f"give {'; '.join(map(str, missing))}",
        )
    for name, value in condition.values.items():
        attribute = known[name]
        if attribute.values:
            attribute.find(value)
        else:
            attribute.number(value)


def read_attributes(schema: Sequence[Attribute], words: Mapping[str, str]) -> Attributes:
    """Return the condition that a person wrote, such as `{"crown": "red", "size": "0.5"}`.

    Raises:
        InvalidInput: as in `check_attributes`.
    """
    known = {attribute.name: attribute for attribute in schema}
    values: dict[str, AttributeValue] = {}
    for name, written in words.items():
        if name not in known:
            raise _unknown(schema, name)
        values[name] = known[name].read(written)
    condition = Attributes(values)
    check_attributes(schema, condition)
    return condition


def _unknown(schema: Sequence[Attribute], name: str) -> InvalidInput:
    names = ", ".join(attribute.name for attribute in schema) or "none"
    return InvalidInput(
        f"attributes[{name[:MAX_NAME_CHARACTERS]}]",
        name,
        "the model has no such attribute",
        f"known are {names}",
    )


def _key(value: AttributeValue) -> tuple[str, str | float]:
    # To Python, True is 1 and "Red" is not "red"; to a person it is the other way round.
    if isinstance(value, bool):
        return "flag", float(value)
    return ("text", value.casefold()) if isinstance(value, str) else ("number", float(value))


def _written(value: AttributeValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:g}"
