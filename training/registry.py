"""Names of recipes, registered once, for the command line; code passes objects."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from training.errors import TrainingError
from training.matching import Matcher
from training.recipe import Recipe


@dataclass(frozen=True)
class Spec:
    """What a recipe must know of the data before it can build networks.

    Attributes:
        resolution: Side of the training pictures in pixels.
        condition_dim: Length of a condition's embedding.
        matcher: Frozen networks by which pictures and captions find each other; None where the
            captions are read by the text encoder alone.
    """

    resolution: int
    condition_dim: int
    matcher: Matcher | None = None


@dataclass(frozen=True)
class Knob:
    """One argument of a recipe, for the command line.

    Attributes:
        name: The argument's name.
        type: Type of one value: bool, int, float or str.
        many: Whether it takes a comma-separated list.
        default: Value when not given.
        help: Its meaning, from the recipe's docstring.
    """

    name: str
    type: type
    many: bool
    default: object
    help: str


@dataclass(frozen=True)
class Entry:
    """A registered recipe.

    Attributes:
        key: Name on the command line.
        title: First line of its docstring.
        text: The whole docstring.
        knobs: Its arguments.
        build: From a `Spec` and arguments to a `Recipe`.
    """

    key: str
    title: str
    text: str
    knobs: tuple[Knob, ...]
    build: Callable[..., Recipe]


_ENTRIES: dict[str, Entry] = {}


def register(build: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Register a recipe under its function's name (``_`` becomes ``-``).

    The keyword arguments become knobs; their meaning is read from the docstring's ``Args``.
    """
    text = inspect.getdoc(build) or ""
    key = build.__name__.replace("_", "-")
    meanings = _argument_help(text)
    knobs = []
    for parameter in inspect.signature(build, eval_str=True).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if parameter.name not in meanings:
            raise TypeError(f"{key}: {parameter.name} is not explained in the docstring's Args")
        many = isinstance(parameter.default, tuple)
        sample = parameter.default[0] if many else parameter.default
        knobs.append(
            Knob(parameter.name, type(sample), many, parameter.default, meanings[parameter.name])
        )
    _ENTRIES[key] = Entry(key, text.partition("\n")[0], text, tuple(knobs), build)
    return build


def recipes() -> Mapping[str, Entry]:
    """All registered recipes by key."""
    # Importing the zoo is what fills the registry.
    importlib.import_module("training.zoo")
    return dict(sorted(_ENTRIES.items()))


def find_recipe(key: str) -> Entry:
    """Return a recipe by its key.

    Raises:
        TrainingError: There is none of that name.
    """
    known = recipes()
    if key not in known:
        raise TrainingError(f"recipe {key!r} is not in the zoo; there are {', '.join(known)}")
    return known[key]


def _argument_help(text: str) -> dict[str, str]:
    """Read the ``Args`` section of a docstring: name to meaning on one line."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)*)", text, re.MULTILINE)
    if section is None:
        return {}
    meanings: dict[str, str] = {}
    name = ""
    for line in section.group(1).splitlines():
        start = re.match(r"^ {4}(\w+): (.*)$", line)
        if start:
            name = start.group(1)
            meanings[name] = start.group(2)
        elif name and line.strip():
            meanings[name] += " " + line.strip()
    return meanings
