"""Names of recipes, registered once, for the command line; code passes objects."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, overload

from training.errors import TrainingError
from training.matcher import Matcher
from training.recipe import Recipe

Kind = Literal["pictures", "points", "tokens"]
Learns = Literal["captions", "samples"]
Need = Literal["matcher", "words"]


@dataclass(frozen=True)
class Spec:
    """What a recipe must know of the data before it can build networks.

    Attributes:
        resolution: Side of the training pictures in pixels; 0 for other samples.
        condition_dim: Length of a caption's embedding; 0 where captions are not learned from.
        channels: Channels of the pictures.
        sample_shape: Shape of one sample as networks see it: ``(c, r, r)``, ``(2,)``, ``(t,)``.
        kind: What the samples are.
        label_names: Names of the classes by number; empty when there are none.
        labelled: Number of samples that have a label.
        size: Number of samples.
        vocabulary: Number of different tokens; 0 for what is no text.
        source_length: Tokens of a sentence that each sample is a translation of; 0 for none.
        source_vocabulary: Number of different tokens of those.
        matcher: Frozen networks by which pictures and captions find each other; None where the
            recipe needs none, or the text encoder alone reads captions.
        words: Words that stand behind a caption's embedding; 0 where the recipe needs none.
        token_dim: Length of a word's state.
    """

    resolution: int
    condition_dim: int = 0
    channels: int = 3
    sample_shape: tuple[int, ...] = ()
    kind: Kind = "pictures"
    label_names: tuple[str, ...] = ()
    labelled: int = 0
    size: int = 0
    vocabulary: int = 0
    source_length: int = 0
    source_vocabulary: int = 0
    matcher: Matcher | None = None
    words: int = 0
    token_dim: int = 0

    def __post_init__(self) -> None:
        """Fill in the shape of pictures."""
        if not self.sample_shape and self.kind == "pictures":
            shape = (self.channels, self.resolution, self.resolution)
            object.__setattr__(self, "sample_shape", shape)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 when the data has no labels."""
        return len(self.label_names)

    def classes(self, *, all_labelled: bool = True) -> int:
        """Return the number of classes of a paper that needs labels.

        Args:
            all_labelled: Every sample must have one; semi-supervised papers do without.

        Raises:
            TrainingError: The data has no labels, or only a part of it has.
        """
        if not self.n_classes:
            raise TrainingError(
                "labels: this recipe learns from labels and the data has none; give data with "
                "labels, such as a folder of one folder a class"
            )
        if all_labelled and self.labelled < self.size:
            raise TrainingError(
                f"labels: {self.size - self.labelled} of {self.size} samples have none; label "
                "them, or take a semi-supervised recipe"
            )
        return self.n_classes

    def captioned(self) -> int:
        """Return the length of a caption's embedding, of a paper that draws captions.

        Raises:
            TrainingError: The data has no captions, or is no pictures.
        """
        self.expect("pictures")
        if not self.condition_dim:
            raise TrainingError(
                "captions: this recipe learns from captions and the data has none; give captioned "
                "pictures, such as birds"
            )
        return self.condition_dim

    @property
    def sentence_dim(self) -> int:
        """Length of a caption's embedding without its words."""
        return self.condition_dim - self.words * (self.token_dim + 1)

    def expect(self, *kinds: Kind) -> None:
        """Refuse data that a paper's networks cannot take.

        Raises:
            TrainingError: The data is of another kind.
        """
        if self.kind not in kinds:
            raise TrainingError(
                f"data: this recipe learns from {' or '.join(kinds)}, and these are {self.kind}"
            )


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
class Source:
    """Where a recipe comes from, read from its docstring's "Authors, year, arXiv:1406.2661".

    Attributes:
        authors: As printed; empty when the docstring names no paper.
        year: Of the first paper named; None when there is none.
        arxiv: Numbers of all papers named, such as ``1406.2661``.
        text: The whole sentence or two.
    """

    authors: str = ""
    year: int | None = None
    arxiv: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Entry:
    """A registered recipe.

    Attributes:
        key: Name on the command line.
        title: First line of its docstring.
        text: The whole docstring.
        knobs: Its arguments.
        build: From a `Spec` and arguments to a `Recipe`.
        learns: What of the data it learns from.
        section: Its section of the list of papers; empty for the house recipe.
        data: Data that it is shown on when none is named; empty for none.
        source: Where it comes from, as the docstring says.
        needs: What it is given of captions beside their embeddings.
    """

    key: str
    title: str
    text: str
    knobs: tuple[Knob, ...]
    build: Callable[..., Recipe]
    learns: Learns = "captions"
    section: str = ""
    data: str = ""
    source: Source = Source()
    needs: tuple[Need, ...] = ()


_ENTRIES: dict[str, Entry] = {}


Builder = Callable[..., Recipe]


@overload
def register(build: Builder) -> Builder: ...


@overload
def register(
    *,
    learns: Learns = "samples",
    needs: tuple[Need, ...] = (),
    section: str = "",
    data: str = "",
) -> Callable[[Builder], Builder]: ...


def register(
    build: Builder | None = None,
    *,
    learns: Learns = "samples",
    needs: tuple[Need, ...] = (),
    section: str = "",
    data: str = "",
) -> Builder | Callable[[Builder], Builder]:
    """Register a recipe under its function's name (``_`` becomes ``-``).

    The keyword arguments become knobs; their meaning is read from the docstring's ``Args``. Bare,
    as ``@register``, the recipe learns from captions and needs a matcher.

    Args:
        build: The recipe's function.
        learns: What of the data it learns from: captions, or samples with or without labels.
        needs: What it is given of captions beside their embeddings: ``matcher`` learns one before
            the run and puts it into the `Spec`; ``words`` puts the states of a caption's words
            behind its embedding (`t2i.networks.words`).
        section: Its section of the list of papers.
        data: Data that it is shown on when none is named.
    """
    if build is not None:
        return _register(build, "captions", ("matcher",), "", "")
    return lambda build: _register(build, learns, needs, section, data)


def _register(
    build: Builder, learns: Learns, needs: tuple[Need, ...], section: str, data: str
) -> Builder:
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

    @functools.wraps(build)
    def named(*args: object, **given: object) -> Recipe:
        recipe = build(*args, **given)
        return recipe if recipe.key else dataclasses.replace(recipe, key=key)

    title = text.partition("\n")[0]
    source = source_of(text) if section else Source()
    _ENTRIES[key] = Entry(
        key, title, text, tuple(knobs), named, learns, section, data, source, needs
    )
    return named


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


def source_of(text: str) -> Source:
    """Read a docstring's first paragraph that names a number of arXiv."""
    for paragraph in text.split("\n\n"):
        words = " ".join(paragraph.split())
        numbers = re.findall(r"arXiv:(\d{4}\.\d{4,5})", words)
        if not numbers:
            continue
        dated = re.search(r"^(.*?),? \(?((?:19|20)\d\d)\b", words)
        # Without a year in words the number tells it: 1406.2661 is of June 2014.
        year = int(dated.group(2)) if dated else 2000 + int(numbers[0][:2])
        return Source(dated.group(1) if dated else "", year, tuple(numbers), words)
    return Source()


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
