"""The models that a server draws with, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from server.conditions import KINDS, write_attribute
from server.refusals import model_not_found
from t2i.errors import InvalidInput
from t2i.protocol.v1 import conditions_pb2, model_service_pb2

if TYPE_CHECKING:
    from t2i.codes import CodePartKind
    from t2i.pipeline import PipelineInfo

__all__ = ["Models", "describe", "version"]

CODE_PARTS: dict[CodePartKind, model_service_pb2.CodePartKind.ValueType] = {
    "categorical": model_service_pb2.CODE_PART_KIND_CATEGORICAL,
    "continuous": model_service_pb2.CODE_PART_KIND_CONTINUOUS,
}


class Models:
    """The models that can be asked for, by name. Which version a name stands for may change.

    Args:
        infos: the models, the default first.

    Raises:
        InvalidInput: two models have the same name.
    """

    def __init__(self, infos: Sequence[PipelineInfo]) -> None:
        self._default = infos[0].name
        self._by_name: dict[str, PipelineInfo] = {}
        for info in infos:
            self.add(info)

    def __contains__(self, name: str) -> bool:
        """Tell whether `find` has an answer to this name."""
        return not name or name in self._by_name

    def find(self, name: str) -> PipelineInfo:
        """Return the model of this name; the default model for the empty name.

        Raises:
            Refusal: NOT_FOUND, with the names there are.
        """
        name = name or self._default
        if name not in self._by_name:
            raise model_not_found(name, self._by_name)
        return self._by_name[name]

    def list(self) -> list[PipelineInfo]:
        """Return all models, the default first, then by name."""
        others = sorted(name for name in self._by_name if name != self._default)
        return [self._by_name[name] for name in (self._default, *others)]

    def is_default(self, info: PipelineInfo) -> bool:
        """Tell whether requests without a model name go to this model."""
        return info.name == self._default

    def add(self, info: PipelineInfo) -> None:
        """Let one more model be asked for.

        Raises:
            InvalidInput: there is one of its name.
        """
        if info.name in self._by_name:
            raise InvalidInput(
                "models", info.name, f"two bundles are named {info.name}", "serve one of them"
            )
        self._by_name[info.name] = info

    def replace(self, info: PipelineInfo) -> None:
        """Let a name stand for another version, from the next request on."""
        self._by_name[info.name] = info

    def remove(self, name: str) -> None:
        """Let a model other than the default be asked for no more."""
        del self._by_name[name]


def describe(info: PipelineInfo, *, is_default: bool) -> model_service_pb2.Model:
    """Return a model as the protocol describes it."""
    return model_service_pb2.Model(
        name=info.name,
        version=info.version,
        checksum=info.checksum,
        condition_kinds=[KINDS[kind] for kind in info.conditions],
        resolutions=info.resolutions,
        encoder=info.encoder,
        embedding_size=info.embedding_size,
        labels=info.labels,
        parameters=info.parameters,
        is_default=is_default,
        code=[
            model_service_pb2.CodePart(
                name=part.name,
                kind=CODE_PARTS[part.kind],
                size=part.size,
                low=part.low,
                high=part.high,
            )
            for part in info.code
        ],
        attributes=[
            model_service_pb2.Attribute(
                name=attribute.name,
                values=[write_attribute(value) for value in attribute.values],
                low=attribute.low,
                high=attribute.high,
            )
            for attribute in info.attributes
        ],
        takes_fine=info.takes_fine,
        has_scorer=info.has_scorer,
        attention_words=info.attention_words,
    )


def version(info: PipelineInfo) -> conditions_pb2.ModelVersion:
    """Return which model answered."""
    return conditions_pb2.ModelVersion(name=info.name, version=info.version, checksum=info.checksum)
