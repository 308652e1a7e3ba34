"""Class labels: names to numbers and back, and as embeddings."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2i.conditions import Label
from t2i.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LabelEncoder"]


class LabelEncoder:
    """The classes of a data set. A class's number is its place in `names`.

    Args:
        names: name of each class, no two alike.

    Raises:
        InvalidInput: if there are no names or a name occurs twice.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(Label(name=name).name or "" for name in names)
        self._ids = {name: index for index, name in enumerate(self.names)}
        if not self.names:
            raise InvalidInput("labels", names, "has no names", "give the name of each class")
        if len(self._ids) != len(self.names):
            twice = next(name for i, name in enumerate(self.names) if self._ids[name] != i)
            raise InvalidInput("labels", twice, f"{twice!r} occurs twice", "name each class once")
        # Lower-case names lead to a class only where they cannot mean two.
        folded = [name.casefold() for name in self.names]
        self._folded = {name: index for index, name in enumerate(folded) if folded.count(name) == 1}

    @property
    def dim(self) -> int:
        """Length of an embedding: the number of classes."""
        return len(self.names)

    def find(self, label: Label | str | int) -> int:
        """Return a class's number.

        Args:
            label: a class by its name (upper and lower case alike where that is clear) or number.

        Raises:
            InvalidInput: if there is no such class; near names are listed.
        """
        if not isinstance(label, Label):
            label = Label(name=label) if isinstance(label, str) else Label(id=label)
        if label.id is not None:
            if label.id >= len(self.names):
                raise InvalidInput(
                    "label.id",
                    label.id,
                    f"no class has number {label.id}",
                    f"give 0 to {len(self.names) - 1}",
                )
            return label.id
        name = label.name or ""
        found = self._ids.get(name, self._folded.get(name.casefold()))
        if found is None:
            raise InvalidInput("label.name", name, f"no class is named {name!r}", self._near(name))
        return found

    def name(self, number: int) -> str:
        """Return the name of a class.

        Raises:
            InvalidInput: if there is no class of this number.
        """
        return self.names[self.find(number)]

    def encode(self, labels: Sequence[Label | str | int]) -> Tensor:
        """Return one embedding a label, `(n, dim)` float32: 1 at the class's number, else 0.

        A generator's first linear layer turns this into a learned vector for each class.

        Raises:
            InvalidInput: if a label is not known.
        """
        import torch

        embeddings = torch.zeros(len(labels), self.dim)
        for row, label in enumerate(labels):
            embeddings[row, self.find(label)] = 1.0
        return embeddings

    def _near(self, name: str) -> str:
        folded: dict[str, str] = {}
        for known in self.names:
            folded.setdefault(known.casefold(), known)
        near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
        if near:
            return "did you mean " + " or ".join(repr(folded[match]) for match in near) + "?"
        shown = ", ".join(repr(known) for known in self.names[:5])
        more = len(self.names) - 5
        return f"known are {shown}" + (f" and {more} more" if more > 0 else "")
