"""A picture that a model can be asked for when nobody has asked yet, to warm up and to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.backends import Item, Packing
from t2i.codes import default_code
from t2i.conditions import Attributes, Condition, ConditionKind, Label, Text

if TYPE_CHECKING:
    from t2i.pipeline import PipelineInfo

__all__ = ["examples"]

# As most pictures are asked for.
_PACKING = Packing("png")


def examples(info: PipelineInfo) -> list[Item]:
    """Return a picture of each kind of condition that a model takes, or one of its seed alone."""
    if not info.conditions:
        return [Item(None, 0, packing=_PACKING)]
    return [Item(_condition(info, kind), 0, packing=_PACKING) for kind in info.conditions]


def _condition(info: PipelineInfo, kind: ConditionKind) -> Condition:
    match kind:
        case "text":
            return Text("a picture")
        case "label":
            return Label(id=0)
        case "attributes":
            return Attributes({a.name: a.values[0] if a.values else a.low for a in info.attributes})
        case "code":
            return default_code(info.code)
        case _:
            # No bundle of this version takes another kind: its encoders refuse to load.
            raise ValueError(f"no example of {kind}")
