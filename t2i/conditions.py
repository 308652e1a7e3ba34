"""What a person can ask with: a text, a label, attributes, a picture, a layout, a scene, a code.

A condition is a frozen value that has been checked when it exists: whoever receives one need not
check it again. This module loads without torch and without numpy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from t2i.errors import InvalidInput, shown

__all__ = [
    "CONDITION_KINDS",
    "MAX_ATTRIBUTES",
    "MAX_CODE_VALUES",
    "MAX_NAME_CHARACTERS",
    "MAX_OBJECTS",
    "MAX_PICTURE_BYTES",
    "MAX_RELATIONS",
    "MAX_TEXT_CHARACTERS",
    "Attributes",
    "Code",
    "Condition",
    "ConditionKind",
    "Label",
    "Layout",
    "LayoutObject",
    "Picture",
    "Relation",
    "SceneGraph",
    "Text",
    "as_condition",
    "as_condition_or_none",
]

MAX_TEXT_CHARACTERS = 512
MAX_NAME_CHARACTERS = 128
MAX_ATTRIBUTES = 64
MAX_OBJECTS = 32
MAX_RELATIONS = 128
MAX_CODE_VALUES = 256
MAX_PICTURE_BYTES = 4 * 1024 * 1024
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

ConditionKind = Literal["text", "label", "attributes", "picture", "layout", "scene_graph", "code"]


@dataclass(frozen=True, slots=True)
class Text:
    """A caption in words.

    Args:
        text: 1 to `MAX_TEXT_CHARACTERS` characters, not only blanks.
    """

    text: str
    kind: ClassVar[ConditionKind] = "text"

    def __post_init__(self) -> None:
        _check_words("text", self.text, MAX_TEXT_CHARACTERS, "a caption")


@dataclass(frozen=True, slots=True)
class Label:
    """One class of the data set, by its name or by its number; exactly one of the two is given.

    Args:
        name: name of the class. Whether a bundle knows it is checked where the bundle is known.
        id: number of the class, 0 or more.
    """

    name: str | None = None
    id: int | None = None
    kind: ClassVar[ConditionKind] = "label"

    def __post_init__(self) -> None:
        if (self.name is None) == (self.id is None):
            given = "neither a name nor an id" if self.name is None else "both a name and an id"
            raise InvalidInput("label", (self.name, self.id), f"{given} given", "give exactly one")
        if self.name is not None:
            _check_words("label.name", self.name, MAX_NAME_CHARACTERS, "a class name")
        if self.id is not None:
            _check_index("label.id", self.id, None, "a class number, 0 or more")


@dataclass(frozen=True, slots=True)
class Attributes:
    """Named properties, such as `{"crown": "red", "crest": True, "size": 0.3}`.

    Args:
        values: 1 to `MAX_ATTRIBUTES` entries; a value is a text, a truth value, or a finite number.
    """

    values: Mapping[str, str | bool | float]
    kind: ClassVar[ConditionKind] = "attributes"

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise InvalidInput(
                "attributes",
                self.values,
                f"is a {type(self.values).__name__}",
                'give a mapping such as {"crown": "red"}',
            )
        _check_count("attributes", self.values, 1, MAX_ATTRIBUTES, "attributes")
        for name, value in self.values.items():
            _check_words("attributes", name, MAX_NAME_CHARACTERS, "an attribute name")
            field = f"attributes[{name}]"
            if isinstance(value, str):
                _check_words(field, value, MAX_NAME_CHARACTERS, "a value")
            elif not isinstance(value, bool):
                _check_number(field, value, "a text, true or false, or a finite number")
        # A private copy, so that the caller cannot change a checked condition.
        object.__setattr__(self, "values", dict(self.values))

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to start from.

    Args:
        data: a PNG, JPEG or WebP file, at most `MAX_PICTURE_BYTES` bytes.
    """

    data: bytes
    kind: ClassVar[ConditionKind] = "picture"

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes):
            raise InvalidInput(
                "picture",
                self.data,
                f"is a {type(self.data).__name__}",
                "give the bytes of a PNG, JPEG or WebP file",
            )
        if len(self.data) > MAX_PICTURE_BYTES:
            raise InvalidInput(
                "picture",
                self.data,
                f"has {len(self.data)} bytes",
                f"give at most {MAX_PICTURE_BYTES} bytes",
            )
        known = (
            self.data.startswith(b"\x89PNG\r\n\x1a\n")
            or self.data.startswith(b"\xff\xd8\xff")
            or (self.data[:4] == b"RIFF" and self.data[8:12] == b"WEBP")
        )
        if not known:
            raise InvalidInput(
                "picture", self.data, "is not a picture file", "give a PNG, JPEG or WebP file"
            )


@dataclass(frozen=True, slots=True)
class LayoutObject:
    """An object and where it is.

    Args:
        label: what it is.
        box: `(x0, y0, x1, y1)` as fractions 0 to 1 of the picture's width and height, the origin
            at the top left, x0 < x1 and y0 < y1.
    """

    label: str
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        _check_words("layout.label", self.label, MAX_NAME_CHARACTERS, "a label")
        object.__setattr__(self, "box", _checked_box(self.box))


@dataclass(frozen=True, slots=True)
class Layout:
    """Objects and their places in the picture.

    Args:
        objects: 1 to `MAX_OBJECTS` objects, drawn from first to last.
    """

    objects: tuple[LayoutObject, ...]
    kind: ClassVar[ConditionKind] = "layout"

    def __post_init__(self) -> None:
        object.__setattr__(self, "objects", _as_tuple("layout.objects", self.objects, LayoutObject))
        _check_count("layout.objects", self.objects, 1, MAX_OBJECTS, "objects")


@dataclass(frozen=True, slots=True)
class Relation:
    """A statement about two objects of a scene: object `subject` *predicate* object `object`.

    Args:
        subject: index of an object of the scene.
        predicate: for example `"left of"`.
        object: index of an object of the scene.
    """

    subject: int
    predicate: str
    object: int

    def __post_init__(self) -> None:
        _check_index("relation.subject", self.subject, None, "the index of an object")
        _check_words("relation.predicate", self.predicate, MAX_NAME_CHARACTERS, "a predicate")
        _check_index("relation.object", self.object, None, "the index of an object")


@dataclass(frozen=True, slots=True)
class SceneGraph:
    """Objects and how they relate.

    Args:
        objects: 1 to `MAX_OBJECTS` names.
        relations: up to `MAX_RELATIONS` relations between them.
    """

    objects: tuple[str, ...]
    relations: tuple[Relation, ...] = ()
    kind: ClassVar[ConditionKind] = "scene_graph"

    def __post_init__(self) -> None:
        object.__setattr__(self, "objects", _as_tuple("scene_graph.objects", self.objects, str))
        object.__setattr__(
            self, "relations", _as_tuple("scene_graph.relations", self.relations, Relation)
        )
        _check_count("scene_graph.objects", self.objects, 1, MAX_OBJECTS, "objects")
        _check_count("scene_graph.relations", self.relations, 0, MAX_RELATIONS, "relations")
        for index, name in enumerate(self.objects):
            _check_words(
                f"scene_graph.objects[{index}]", name, MAX_NAME_CHARACTERS, "an object name"
            )
        for index, relation in enumerate(self.relations):
            field = f"scene_graph.relations[{index}]"
            _check_index(f"{field}.subject", relation.subject, len(self.objects), "an object index")
            _check_index(f"{field}.object", relation.object, len(self.objects), "an object index")


@dataclass(frozen=True, slots=True)
class Code:
    """A latent code of a model that found its own factors, such as InfoGAN.

    Args:
        categorical: one choice for each categorical factor, 0 or more.
        continuous: one finite value for each continuous factor.
    """

    categorical: tuple[int, ...] = ()
    continuous: tuple[float, ...] = ()
    kind: ClassVar[ConditionKind] = "code"

    def __post_init__(self) -> None:
        categorical = _as_tuple("code.categorical", self.categorical, object)
        continuous = _as_tuple("code.continuous", self.continuous, object)
        _check_count("code", categorical + continuous, 1, MAX_CODE_VALUES, "values")
        for index, choice in enumerate(categorical):
            _check_index(f"code.categorical[{index}]", choice, None, "a choice, 0 or more")
        for index, value in enumerate(continuous):
            _check_number(f"code.continuous[{index}]", value, "a finite number")
        object.__setattr__(self, "categorical", categorical)
        object.__setattr__(self, "continuous", tuple(map(float, self.continuous)))


Condition = Text | Label | Attributes | Picture | Layout | SceneGraph | Code

CONDITION_KINDS: tuple[ConditionKind, ...] = (
    Text.kind,
    Label.kind,
    Attributes.kind,
    Picture.kind,
    Layout.kind,
    SceneGraph.kind,
    Code.kind,
)


def as_condition(value: Condition | str) -> Condition:
    """Return a condition as it is, and words as a `Text`.

    Raises:
        InvalidInput: if the value is neither, or the words are not a valid caption.
    """
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, Text | Label | Attributes | Picture | Layout | SceneGraph | Code):
        return value
    raise InvalidInput(
        "condition",
        value,
        f"{shown(value)} is a {type(value).__name__}",
        "give words or one of the types of t2i.conditions",
    )


def as_condition_or_none(value: Condition | str | None) -> Condition | None:
    """Return what `as_condition` does, and nothing where nothing is asked with.

    Raises:
        InvalidInput: as `as_condition`.
    """
    return None if value is None else as_condition(value)


def _check_words(field: str, value: object, limit: int, what: str) -> None:
    remedy = f"give {what} of 1 to {limit} characters"
    if not isinstance(value, str):
        raise InvalidInput(field, value, f"{shown(value)} is a {type(value).__name__}", remedy)
    if not value:
        raise InvalidInput(field, value, "is empty", remedy)
    if not value.strip():
        raise InvalidInput(field, value, "is blank", remedy)
    if len(value) > limit:
        raise InvalidInput(field, value, f"has {len(value)} characters", remedy)
    if _HALF_CHARACTER.search(value):
        raise InvalidInput(field, value, "holds half a character (a lone surrogate)", remedy)


def _check_index(field: str, value: object, limit: int | None, what: str) -> None:
    remedy = f"give {what}" if limit is None else f"give {what} from 0 to {limit - 1}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(field, value, f"{shown(value)} is not a whole number", remedy)
    if value < 0 or (limit is not None and value >= limit):
        raise InvalidInput(field, value, f"{value} is out of range", remedy)


def _check_number(field: str, value: object, what: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidInput(field, value, f"{shown(value)} is not a number", f"give {what}")
    # Whole numbers beyond what a float holds would raise in isfinite.
    if abs(value) > 1e300 or not math.isfinite(value):
        raise InvalidInput(field, value, f"{shown(value)} is not finite", f"give {what}")


def _checked_box(box: object) -> tuple[float, float, float, float]:
    remedy = "give (x0, y0, x1, y1) with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1"
    if not isinstance(box, tuple | list) or len(box) != 4:
        raise InvalidInput("layout.box", box, f"{shown(box)} is not a box", remedy)
    for number in box:
        _check_number("layout.box", number, "four fractions of the picture")
    x0, y0, x1, y1 = (float(number) for number in box)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise InvalidInput("layout.box", box, f"{shown(box)} is not a box", remedy)
    return x0, y0, x1, y1


def _check_count(
    field: str, values: Mapping[str, object] | tuple[object, ...], low: int, high: int, what: str
) -> None:
    if not low <= len(values) <= high:
        raise InvalidInput(
            field, values, f"has {len(values)} {what}", f"give {low} to {high} {what}"
        )


def _as_tuple(field: str, value: object, of: type) -> tuple[object, ...]:
    if not isinstance(value, tuple | list):
        raise InvalidInput(
            field, value, f"is a {type(value).__name__}", f"give a tuple of {of.__name__} entries"
        )
    for index, entry in enumerate(value):
        if not isinstance(entry, of):
            raise InvalidInput(
                f"{field}[{index}]", entry, f"is a {type(entry).__name__}", f"give a {of.__name__}"
            )
    return tuple(value)
