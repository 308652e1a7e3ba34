"""Latent codes as embeddings: categorical parts one-hot, continuous parts as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from t2i.codes import CodePart, check_code, check_parts, named_code
from t2i.conditions import Code

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CodeEncoder"]


class CodeEncoder:
    """The code of a model.

    Args:
        parts: its parts in the order of the embedding.

    Raises:
        InvalidInput: if there are no parts, or two of one name.
    """

    def __init__(self, parts: Sequence[CodePart]) -> None:
        self.parts = tuple(parts)
        check_parts(self.parts)

    @property
    def dim(self) -> int:
        """Length of an embedding: the sizes of all parts together."""
        return sum(part.size for part in self.parts)

    def code(self, values: Mapping[str, float | Sequence[float]]) -> Code:
        """Return a code from values by name; see `t2i.codes.named_code`."""
        return named_code(self.parts, values)

    def encode(self, codes: Sequence[Code]) -> Tensor:
        """Return one embedding a code, `(n, dim)` float32, its parts one after the other.

        A categorical part is 1 at its choice and 0 elsewhere; a continuous part is its numbers.

        Raises:
            InvalidInput: if a code has too few or too many values, or one is out of range.
        """
        import torch

        embeddings = torch.zeros(len(codes), self.dim)
        for row, code in zip(embeddings, codes, strict=True):
            check_code(self.parts, code)
            choices, numbers = iter(code.categorical), iter(code.continuous)
            start = 0
            for part in self.parts:
                if part.kind == "categorical":
                    row[start + next(choices)] = 1.0
                else:
                    for place in range(start, start + part.size):
                        row[place] = next(numbers)
                start += part.size
        return embeddings
