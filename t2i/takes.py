"""What a model can be asked with, in words, and whether it can be asked with a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from t2i.attributes import Attribute
from t2i.codes import CodePart
from t2i.conditions import Condition, Text
from t2i.errors import InvalidInput, shown
from t2i.seeds import MAX_BEST_OF

__all__ = [
    "SEED_ALONE",
    "Staged",
    "Takes",
    "check_attention",
    "check_best_of",
    "fine_stage",
    "refusal",
    "what_it_takes",
]

SEED_ALONE = "seed alone"

_SHOWN_NAMES = 12


class Takes(Protocol):
    """A model as its bundle, the pipeline and the client describe it.

    `conditions` is empty where the model draws by seed alone.
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def conditions(self) -> Sequence[str]:
        """Kinds of condition that it takes."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of its classes by number."""

    @property
    def code(self) -> Sequence[CodePart]:
        """The parts of its code."""

    @property
    def attributes(self) -> Sequence[Attribute]:
        """Its attributes."""


class Staged(Protocol):
    """A model's stages, as the pipeline and the client describe them."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def resolutions(self) -> Sequence[int]:
        """Side of each stage's picture in pixels, ascending."""

    @property
    def takes_fine(self) -> bool:
        """Whether its later stages can follow another condition than the first."""


class Scored(Protocol):
    """Whether a model can choose, as the pipeline and the client describe it."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def has_scorer(self) -> bool:
        """Whether it can tell the best of several candidates."""


class Attentive(Protocol):
    """Whether a model attends to words, as the pipeline and the client describe it."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def attention_words(self) -> int:
        """How many tokens of a caption it attends to one by one."""


def check_attention(
    model: Attentive, attention: bool, condition: Condition | None, *, alone: bool = True
) -> None:
    """Check that a model can tell where it looks at each word, if that is asked for.

    Args:
        model: the model.
        attention: whether it is asked for.
        condition: what the picture is asked with.
        alone: whether the picture follows one condition and is on no way.

    Raises:
        InvalidInput: if it cannot.
    """
    if not attention:
        return
    problem = remedy = ""
    if not model.attention_words:
        problem = f"{model.name} does not attend to words"
        remedy = "leave it out, or use a model with word attention, such as one of attngan"
    elif not isinstance(condition, Text):
        problem, remedy = "is told of captions only", "ask with a caption, or leave it out"
    elif not alone:
        problem = "is told of pictures of one condition"
        remedy = "leave out attention, or the other condition"
    if problem:
        raise InvalidInput("attention", attention, problem, remedy)


def check_best_of(model: Scored, best_of: object, *, alone: bool = True) -> None:
    """Check that a model can choose the best of so many candidates.

    Args:
        model: the model.
        best_of: candidates for each picture; 1 chooses nothing, which every model can.
        alone: whether the picture follows one condition and is on no way.

    Raises:
        InvalidInput: if it cannot.
    """
    if not isinstance(best_of, int) or best_of is True or not 1 <= best_of <= MAX_BEST_OF:
        raise InvalidInput(
            "best_of", best_of, f"{shown(best_of)} is out of range", f"give 1 to {MAX_BEST_OF}"
        )
    if best_of == 1:
        return
    if not model.has_scorer:
        raise InvalidInput(
            "best_of",
            best_of,
            f"{model.name} has no scorer to choose with",
            "leave it out, or add a scorer to its bundle",
        )
    if not alone:
        raise InvalidInput(
            "best_of",
            best_of,
            "chooses by one condition",
            "leave out best_of, or the other condition",
        )


def fine_stage(model: Staged, fine: Condition | None, resolution: int | None) -> int:
    """Return the number of the first stage that follows a fine condition.

    Args:
        model: the model.
        fine: what the later stages are to follow.
        resolution: side of the first stage that follows it; None for the second stage.

    Raises:
        InvalidInput: if there is no fine condition, the model cannot follow two, or has no such
            stage beyond its first.
    """
    if fine is None:
        raise InvalidInput(
            "fine_from", resolution, "is given without fine", "give fine as well, or leave it out"
        )
    if not model.takes_fine:
        raise InvalidInput(
            "fine",
            fine,
            f"all stages of {model.name} follow one condition",
            "leave it out, or use a model whose later stages read it anew, as those of stackgan do",
        )
    later = list(model.resolutions[1:])
    if resolution is None:
        return 1
    if resolution not in later:
        raise InvalidInput(
            "fine_from",
            resolution,
            f"{shown(resolution)} is no later stage of {model.name}",
            f"give {' or '.join(map(str, later))}",
        )
    return 1 + later.index(resolution)


def what_it_takes(model: Takes) -> str:
    """Return what to ask a model with: `"label (wren, robin)"`, or `"seed alone"`."""
    told = [
        f"{kind} ({_DETAILS[kind](model)})" if kind in _DETAILS else kind
        for kind in model.conditions
    ]
    return " or ".join(told) or SEED_ALONE


def refusal(model: Takes, condition: Condition | None) -> tuple[str, str] | None:
    """Return why a model cannot be asked with a condition of this kind, and what would be right.

    Args:
        model: the model.
        condition: what it is asked with, or None for nothing.

    Returns:
        None if the model takes this kind, or takes nothing and is asked with nothing.
    """
    if condition is None:
        if not model.conditions:
            return None
        return f"is required by {model.name}", f"give {what_it_takes(model)}"
    if condition.kind in model.conditions:
        return None
    if not model.conditions:
        return (
            f"{model.name} takes no {condition.kind}, it draws by {SEED_ALONE}",
            "leave the condition out",
        )
    return f"{model.name} takes no {condition.kind}", f"give {what_it_takes(model)}"


def _label_names(model: Takes) -> str:
    names = ", ".join(model.labels[:_SHOWN_NAMES])
    more = len(model.labels) - _SHOWN_NAMES
    return names + (f" and {more} more" if more > 0 else "")


_DETAILS: Mapping[str, Callable[[Takes], str]] = {
    "label": _label_names,
    "code": lambda model: ", ".join(map(str, model.code)),
    "attributes": lambda model: "; ".join(map(str, model.attributes)),
}
