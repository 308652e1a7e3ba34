from __future__ import annotations

import pytest
import torch

from t2i.codes import CodePart
from t2i.conditions import Code
from t2i.encoders import CodeEncoder
from t2i.errors import InvalidInput

PARTS = [
    CodePart("tilt", "continuous", 1, -1, 1),
    CodePart("digit", "categorical", 3),
    CodePart("pose", "continuous", 2, 0, 4),
    CodePart("shape", "categorical", 2),
]


def test_parts_stand_in_their_order_choices_one_hot_and_numbers_as_they_are() -> None:
    encoder = CodeEncoder(PARTS)
    codes = [Code((2, 0), (-0.5, 3, 4)), encoder.code({"shape": 1})]
    assert encoder.dim == 8
    expected = [[-0.5, 0, 0, 1, 3, 4, 1, 0], [0, 1, 0, 0, 2, 2, 0, 1]]
    assert torch.equal(encoder.encode(codes), torch.tensor(expected))


def test_a_code_of_another_shape_or_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"code\.categorical: has 1 choices; give 2"):
        CodeEncoder(PARTS).encode([Code((2,), (0, 0, 0))])
    with pytest.raises(InvalidInput, match=r"code\.categorical\[1\]: shape has no category 2"):
        CodeEncoder(PARTS).encode([Code((2, 2), (0, 0, 0))])
    with pytest.raises(InvalidInput, match="has no parts"):
        CodeEncoder([])
