"""What a person typed at the command line, as a condition of the model that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from t2i.attributes import read_attributes
from t2i.codes import default_code, flat_code
from t2i.conditions import MAX_NAME_CHARACTERS, Attributes, Code, Condition, Label, Text
from t2i.errors import InvalidInput, shown
from t2i.takes import Takes, refusal

__all__ = ["Words", "in_words", "kind_of_words", "read_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What to draw, as it was typed: at most one of the four; none for a model of seeds alone.

    What can be wrong whatever the model is refused at once, before a model is loaded.

    Args:
        caption: in words.
        label: a class's name or number.
        code: numbers with commas between, in the order of the model's parts.
        attributes: entries such as `"crown=red"`.

    Raises:
        InvalidInput: if more than one is given, or one cannot be used with any model.
    """

    caption: str | None = None
    label: str | None = None
    code: str | None = None
    attributes: tuple[str, ...] = ()
    numbers: tuple[float, ...] = field(default=(), init=False)
    entries: Mapping[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        given = {
            "CAPTION": self.caption is not None,
            "--label": self.label is not None,
            "--code": self.code is not None,
            "--attribute": bool(self.attributes),
        }
        names = [name for name, there in given.items() if there]
        if len(names) > 1:
            raise InvalidInput(
                "condition", names, f"{' and '.join(names)} are given", "give one of them"
            )
        if self.caption is not None:
            Text(self.caption)
        if self.label is not None:
            Label(name=self.label)
        if self.code is not None:
            object.__setattr__(self, "numbers", _numbers(self.code))
        object.__setattr__(self, "entries", _entries(self.attributes))

    @property
    def stem(self) -> str:
        """What to name a file after."""
        if self.attributes:
            return "-".join(self.attributes)
        return self.caption or self.label or self.code or "picture"

    def condition(self, model: Takes) -> Condition | None:
        """Return what to ask a model with; None for nothing.

        Raises:
            InvalidInput: if the model takes another kind, or the values are not the model's.
        """
        condition = self._stand_in()
        refused = refusal(model, condition)
        if refused is not None:
            raise InvalidInput("condition", condition, *refused)
        if self.label is not None:
            return _label(self.label, model)
        if self.code is not None:
            return flat_code(model.code, self.numbers)
        if self.attributes:
            return read_attributes(model.attributes, self.entries)
        return condition

    def start(self, model: Takes) -> Code:
        """Return the code from which a sweep starts; by default the model's first and middle.

        Raises:
            InvalidInput: if something else than a code was typed, or it is not the model's.
        """
        if self.caption is not None or self.label is not None or self.attributes:
            raise InvalidInput(
                "code-sweep", self.stem, "goes with --code only", "leave the other condition out"
            )
        if "code" not in model.conditions:
            problem, remedy = refusal(model, Code((0,))) or ("", "")
            raise InvalidInput("code-sweep", model.name, problem, remedy)
        if self.code is None:
            return default_code(model.code)
        return flat_code(model.code, self.numbers)

    def _stand_in(self) -> Condition | None:
        """Return a condition of the kind that was typed."""
        if self.caption is not None:
            return Text(self.caption)
        if self.label is not None:
            return Label(name=self.label)
        if self.code is not None:
            return Code((), self.numbers)
        return Attributes(self.entries) if self.attributes else None


def kind_of_words(model: Takes) -> str:
    """Return the kind of condition that a model's words are of; of several it is text."""
    kinds = [kind for kind in ("text", "label", "attributes", "code") if kind in model.conditions]
    return kinds[0] if kinds else "text"


def in_words(kind: str, value: str, model: Takes) -> Condition | None:
    """Return a condition of a kind that stands in one text, such as `"crown=red;size=0.5"`.

    Raises:
        InvalidInput: if the model takes another kind, or the values are not the model's.
    """
    if kind == "text":
        return Words(caption=value).condition(model)
    if kind == "label":
        return Words(label=value).condition(model)
    if kind == "code":
        return Words(code=value).condition(model)
    entries = tuple(entry for entry in value.split(";") if entry.strip())
    return Words(attributes=entries or (value,)).condition(model)


def read_words(typed: str | None, model: Takes) -> Condition | None:
    """Return what a text means to a model; None for nothing.

    Raises:
        InvalidInput: as `in_words`.
    """
    return None if typed is None else in_words(kind_of_words(model), typed, model)


def _label(typed: str, model: Takes) -> Label:
    # A name before a number: digits are named "0" to "9", and years by their number.
    if typed not in model.labels and typed.isdecimal() and int(typed) < len(model.labels):
        return Label(id=int(typed))
    return Label(name=typed)


def _numbers(typed: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in typed.split(","))
    except ValueError:
        raise InvalidInput(
            "code", typed, f"{shown(typed)} is no list of numbers", 'give such as "3,0.5,-1"'
        ) from None
    # The condition checks how many there are, and that each is finite.
    Code((), numbers)
    return numbers


def _entries(typed: tuple[str, ...]) -> dict[str, str]:
    entries: dict[str, str] = {}
    for entry in typed:
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals or not name or not value or len(name) > MAX_NAME_CHARACTERS:
            raise InvalidInput(
                "attribute", entry, f"{shown(entry)} is no name and value", "give such as crown=red"
            )
        if name in entries:
            raise InvalidInput("attribute", entry, f"{name} is given twice", "give it once")
        entries[name] = value
    if entries:
        Attributes(entries)
    return entries
