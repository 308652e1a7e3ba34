"""Conditions of the protocol to conditions of the library, which check themselves."""

from __future__ import annotations

from t2i.conditions import (
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

__all__ = ["KINDS", "read_condition", "write_attribute"]

KINDS: dict[str, pb.ConditionKind.ValueType] = {
    "text": pb.CONDITION_KIND_TEXT,
    "label": pb.CONDITION_KIND_LABEL,
    "attributes": pb.CONDITION_KIND_ATTRIBUTES,
    "picture": pb.CONDITION_KIND_PICTURE,
    "layout": pb.CONDITION_KIND_LAYOUT,
    "scene_graph": pb.CONDITION_KIND_SCENE_GRAPH,
    "code": pb.CONDITION_KIND_CODE,
}


def read_condition(message: pb.Condition) -> Condition | None:
    """Return the condition that a request asks with, or None when no kind is set.

    Raises:
        InvalidInput: a value is outside its limits; the field is named from
            the condition on, such as `"label.id"`.
    """
    match message.WhichOneof("kind"):
        case "text":
            return Text(message.text.text)
        case "label":
            return _label(message.label)
        case "attributes":
            values = message.attributes.values
            return Attributes({name: _attribute(name, values[name]) for name in values})
        case "picture":
            return Picture(message.picture.data)
        case "layout":
            return Layout(tuple(_object(i, o) for i, o in enumerate(message.layout.objects)))
        case "scene_graph":
            graph = message.scene_graph
            relations = (Relation(r.subject, r.predicate, r.object) for r in graph.relations)
            return SceneGraph(tuple(graph.objects), tuple(relations))
        case "code":
            return Code(tuple(message.code.categorical), tuple(message.code.continuous))
        case _:
            return None


def _label(message: pb.LabelCondition) -> Label:
    if message.WhichOneof("label") == "id":
        return Label(id=message.id)
    # Not set reads as an empty name, which Label refuses in the same words.
    return Label(name=message.name)


def _attribute(name: str, message: pb.AttributeValue) -> str | bool | float:
    match message.WhichOneof("value"):
        case "name":
            return message.name
        case "flag":
            return message.flag
        case "number":
            return message.number
        case _:
            field = f"attributes[{name}]"
            raise InvalidInput(field, None, "has no value", "set one of name, flag, number")


def write_attribute(value: str | bool | float) -> pb.AttributeValue:
    """Return the message of an attribute's value."""
    # The order matters: True and False are numbers to Python.
    if isinstance(value, bool):
        return pb.AttributeValue(flag=value)
    if isinstance(value, str):
        return pb.AttributeValue(name=value)
    return pb.AttributeValue(number=value)


def _object(index: int, message: pb.LayoutObject) -> LayoutObject:
    if not message.HasField("box"):
        raise InvalidInput(f"layout.objects[{index}].box", None, "is required", "set the box")
    box = message.box
    return LayoutObject(message.label, (box.x0, box.y0, box.x1, box.y1))
