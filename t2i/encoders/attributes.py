"""Attributes as embeddings: choices one-hot, numbers as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2i.attributes import Attribute, check_attributes, check_schema
from t2i.conditions import Attributes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AttributesEncoder"]


class AttributesEncoder:
    """The attributes of a model.

    Args:
        schema: its attributes in the order of the embedding.

    Raises:
        InvalidInput: if there are none, or two of one name.
    """

    def __init__(self, schema: Sequence[Attribute]) -> None:
        self.schema = tuple(schema)
        check_schema(self.schema)

    @property
    def dim(self) -> int:
        """Length of an embedding: one number for each value of a choice, and one for a range."""
        return sum(attribute.dim for attribute in self.schema)

    def encode(self, conditions: Sequence[Attributes]) -> Tensor:
        """Return one embedding a condition, `(n, dim)` float32, attribute after attribute.

        A choice is 1 at its value and 0 elsewhere; a number in a range is itself.

        Raises:
            InvalidInput: if an attribute is missing or not known, or a value is not one of its own.
        """
        import torch

        embeddings = torch.zeros(len(conditions), self.dim)
        for row, condition in zip(embeddings, conditions, strict=True):
            check_attributes(self.schema, condition)
            start = 0
            for attribute in self.schema:
                value = condition.values[attribute.name]
                if attribute.values:
                    row[start + attribute.find(value)] = 1.0
                else:
                    row[start] = attribute.number(value)
                start += attribute.dim
        return embeddings
