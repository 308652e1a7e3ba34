from __future__ import annotations

import pytest
import torch

from t2i.attributes import Attribute
from t2i.conditions import Attributes
from t2i.encoders import AttributesEncoder
from t2i.errors import InvalidInput

SCHEMA = [
    Attribute("crown", ("red", "blue", "black")),
    Attribute("size", low=0, high=3),
    Attribute("crest", (False, True)),
]


def test_attributes_stand_in_the_order_of_the_schema() -> None:
    encoder = AttributesEncoder(SCHEMA)
    conditions = [
        Attributes({"crest": True, "size": 2.5, "crown": "blue"}),
        Attributes({"crown": "Black", "size": 0, "crest": False}),
    ]
    assert encoder.dim == 6
    expected = [[0, 1, 0, 2.5, 0, 1], [0, 0, 1, 0, 1, 0]]
    assert torch.equal(encoder.encode(conditions), torch.tensor(expected))


def test_every_attribute_must_be_there() -> None:
    with pytest.raises(InvalidInput, match="size is missing; give size: 0 to 3"):
        AttributesEncoder(SCHEMA).encode([Attributes({"crown": "red", "crest": True})])
    with pytest.raises(InvalidInput, match="has 0 attributes"):
        AttributesEncoder([])
