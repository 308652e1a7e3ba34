from __future__ import annotations

import pytest

from t2i.client.messages import condition_to_message, events_from_message, model_from_message
from t2i.conditions import (
    CONDITION_KINDS,
    Attributes,
    Code,
    Condition,
    Label,
    Layout,
    LayoutObject,
    Picture,
    Relation,
    SceneGraph,
    Text,
)
from t2i.errors import InvalidInput
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1 import image_service_pb2, model_service_pb2

PNG = b"\x89PNG\r\n\x1a\n rest"
CASES: list[tuple[Condition, pb.Condition]] = [
    (Text("bird"), pb.Condition(text=pb.TextCondition(text="bird"))),
    (Label(name="wren"), pb.Condition(label=pb.LabelCondition(name="wren"))),
    (Label(id=0), pb.Condition(label=pb.LabelCondition(id=0))),
    (
        Attributes({"crown": "red", "crest": True, "size": 2}),
        pb.Condition(
            attributes=pb.AttributesCondition(
                values={
                    "crown": pb.AttributeValue(name="red"),
                    "crest": pb.AttributeValue(flag=True),
                    "size": pb.AttributeValue(number=2.0),
                }
            )
        ),
    ),
    (Picture(PNG), pb.Condition(picture=pb.PictureCondition(data=PNG))),
    (
        Layout((LayoutObject("sky", (0.0, 0.0, 1.0, 0.5)),)),
        pb.Condition(
            layout=pb.LayoutCondition(
                objects=[pb.LayoutObject(label="sky", box=pb.Box(x0=0, y0=0, x1=1, y1=0.5))]
            )
        ),
    ),
    (
        SceneGraph(("bird", "branch"), (Relation(0, "on", 1),)),
        pb.Condition(
            scene_graph=pb.SceneGraphCondition(
                objects=["bird", "branch"],
                relations=[pb.SceneRelation(subject=0, predicate="on", object=1)],
            )
        ),
    ),
    (
        Code((3, 0), (0.5,)),
        pb.Condition(code=pb.CodeCondition(categorical=[3, 0], continuous=[0.5])),
    ),
]


@pytest.mark.parametrize(("condition", "message"), CASES)
def test_a_condition_becomes_its_message(condition: Condition, message: pb.Condition) -> None:
    assert condition_to_message(condition) == message
    assert message.WhichOneof("kind") == condition.kind


def test_every_kind_of_condition_has_a_case_here() -> None:
    assert {condition.kind for condition, _ in CASES} == set(CONDITION_KINDS)


def test_label_number_zero_is_sent_and_not_taken_for_nothing() -> None:
    assert condition_to_message(Label(id=0)).label.WhichOneof("label") == "id"


def test_an_event_of_a_newer_server_is_passed_over() -> None:
    assert list(events_from_message(image_service_pb2.GenerateEvent())) == []


@pytest.mark.parametrize("condition", [Label(id=2**32), Code((0, 2**32))])
def test_a_number_that_no_message_can_hold_is_refused_by_name(condition: Condition) -> None:
    with pytest.raises(InvalidInput, match=r"label\.id|code\.categorical\[1\]"):
        condition_to_message(condition)


def test_a_model_of_a_newer_server_is_described_as_far_as_it_is_known() -> None:
    part = model_service_pb2.CodePart(name="a", kind=99, size=1)  # type: ignore[arg-type]
    attribute = model_service_pb2.Attribute(name="a", values=[pb.AttributeValue()])
    model = model_service_pb2.Model(name="new", code=[part], attributes=[attribute])
    info = model_from_message(model)
    assert (info.name, info.code, info.attributes) == ("new", (), ())
