from __future__ import annotations

import pytest
import torch

from t2i.conditions import Label
from t2i.encoders import LabelEncoder
from t2i.errors import InvalidInput

NAMES = ["House Sparrow", "Blue Jay", "Blue Tit", "Robin", "robin", "Wren"]


def test_names_lead_to_numbers_and_back() -> None:
    encoder = LabelEncoder(NAMES)
    for number, name in enumerate(NAMES):
        assert encoder.find(name) == encoder.find(number) == encoder.find(Label(name=name))
        assert encoder.name(number) == name


def test_case_matters_only_where_two_classes_differ_by_it() -> None:
    encoder = LabelEncoder(NAMES)
    assert encoder.find("blue jay") == 1
    assert encoder.find("robin") == 4
    with pytest.raises(InvalidInput, match="no class is named 'ROBIN'"):
        encoder.find("ROBIN")


def test_an_embedding_is_one_at_the_class_and_zero_elsewhere() -> None:
    embeddings = LabelEncoder(NAMES).encode(["Wren", 0, Label(name="blue tit")])
    assert torch.equal(embeddings, torch.eye(6)[[5, 0, 2]])


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InvalidInput, match=r"did you mean 'Blue Jay' or 'Blue Tit'\?") as caught:
        LabelEncoder(NAMES).find("blue jai")
    assert caught.value.field == "label.name"
    with pytest.raises(InvalidInput, match=r"known are 'House Sparrow', .* and 1 more"):
        LabelEncoder(NAMES).find("zzzzzz")


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"no class has number 6; give 0 to 5"):
        LabelEncoder(NAMES).find(6)
    with pytest.raises(InvalidInput, match=r"label\.id: -1 is out of range"):
        LabelEncoder(NAMES).encode([-1])


def test_names_must_be_there_and_differ() -> None:
    with pytest.raises(InvalidInput, match="has no names"):
        LabelEncoder([])
    with pytest.raises(InvalidInput, match="'Wren' occurs twice"):
        LabelEncoder(["Wren", "Wren"])
