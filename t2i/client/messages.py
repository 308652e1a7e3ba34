"""Between the words of this package and the messages of the protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never, cast

from t2i.attributes import Attribute
from t2i.client.results import (
    FORMATS,
    Accepted,
    Completed,
    Finished,
    GenerateEvent,
    GenerationResult,
    ImageFormat,
    ModelInfo,
    ModelVersion,
    Preview,
    ServedImage,
    Timings,
    Warning,
)
from t2i.codes import CodePart, CodePartKind
from t2i.conditions import (
    Attributes,
    Code,
    Condition,
    Label,
    Layout,
    Picture,
    SceneGraph,
    Text,
    as_condition,
)
from t2i.errors import InvalidInput, shown
from t2i.protocol.v1 import conditions_pb2, image_service_pb2, model_service_pb2

__all__ = ["Asked", "condition_to_message", "event_from_message", "model_from_message"]

LARGEST_SEED = 2**63 - 1
_PART_KINDS: dict[int, CodePartKind] = {
    model_service_pb2.CODE_PART_KIND_CATEGORICAL: "categorical",
    model_service_pb2.CODE_PART_KIND_CONTINUOUS: "continuous",
}
_LARGEST_UINT32 = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a caller asked for, checked for everything that a message could not hold.

    The limits of the service (how many pictures, which sizes) are the service's to check: it names
    each field that it cannot use.
    """

    condition: Condition | None
    count: int | None = None
    seeds: tuple[int, ...] = ()
    model: str = ""
    format: ImageFormat = "png"
    quality: int | None = None
    truncation: float = 1.0
    conditioning_truncation: float = 1.0
    previews: bool = True
    request_id: str = ""

    @classmethod
    def of(
        cls,
        condition: Condition | str | None,
        *,
        count: int | None,
        seeds: Sequence[int] | None,
        model: str | None,
        format: ImageFormat,
        quality: int | None,
        truncation: float,
        conditioning_truncation: float,
        request_id: str | None,
        previews: bool = True,
    ) -> Asked:
        """Return what was asked for.

        Raises:
            InvalidInput: a value is of the wrong type, or no message can hold it.
        """
        if count is not None:
            whole("count", count, 1, _LARGEST_UINT32)
        for index, seed in enumerate(seeds or ()):
            whole(f"seeds[{index}]", seed, 0, LARGEST_SEED)
        if quality is not None:
            whole("quality", quality, 1, 100)
        if format not in FORMATS:
            raise InvalidInput(
                "format", format, f"{shown(format)} is unknown", f"use one of {', '.join(FORMATS)}"
            )
        for name, number in (
            ("truncation", truncation),
            ("conditioning_truncation", conditioning_truncation),
        ):
            if not isinstance(number, int | float) or not math.isfinite(number):
                raise InvalidInput(
                    name, number, f"{shown(number)} is no finite number", "give 0 to 1"
                )
        for name, text in (("model", model), ("request_id", request_id)):
            if text is not None and not isinstance(text, str):
                raise InvalidInput(name, text, f"{shown(text)} is no text", "give a text")
        return cls(
            condition=None if condition is None else as_condition(condition),
            count=count,
            seeds=tuple(seeds or ()),
            model=model or "",
            format=format,
            quality=quality,
            truncation=float(truncation),
            conditioning_truncation=float(conditioning_truncation),
            previews=bool(previews),
            request_id=request_id or "",
        )

    def stream_request(self) -> image_service_pb2.GenerateRequest:
        """Return the message for `ImageService.Generate`."""
        return image_service_pb2.GenerateRequest(
            request_id=self.request_id,
            model=self.model,
            condition=_condition(self.condition),
            count=self.count,
            seeds=self.seeds,
            options=self._options(),
            previews=self.previews,
        )

    def images_request(self) -> image_service_pb2.GenerateImagesRequest:
        """Return the message for `ImageService.GenerateImages`."""
        return image_service_pb2.GenerateImagesRequest(
            request_id=self.request_id,
            model=self.model,
            condition=_condition(self.condition),
            count=self.count,
            seeds=self.seeds,
            options=self._options(),
        )

    def _options(self) -> conditions_pb2.GenerateOptions:
        return conditions_pb2.GenerateOptions(
            truncation=self.truncation,
            conditioning_truncation=self.conditioning_truncation,
            format=conditions_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{self.format.upper()}"),
            quality=self.quality,
        )


def _condition(condition: Condition | None) -> conditions_pb2.Condition | None:
    return None if condition is None else condition_to_message(condition)


def condition_to_message(condition: Condition) -> conditions_pb2.Condition:
    """Return the message of a condition.

    Raises:
        InvalidInput: a number is larger than a message can hold.
    """
    pb = conditions_pb2
    match condition:
        case Text(text=text):
            return pb.Condition(text=pb.TextCondition(text=text))
        case Label():
            return pb.Condition(label=_label(condition))
        case Attributes(values=values):
            entries = {name: _attribute(value) for name, value in values.items()}
            return pb.Condition(attributes=pb.AttributesCondition(values=entries))
        case Picture(data=data):
            return pb.Condition(picture=pb.PictureCondition(data=data))
        case Layout(objects=objects):
            return pb.Condition(
                layout=pb.LayoutCondition(
                    objects=[
                        pb.LayoutObject(
                            label=o.label,
                            box=pb.Box(x0=o.box[0], y0=o.box[1], x1=o.box[2], y1=o.box[3]),
                        )
                        for o in objects
                    ]
                )
            )
        case SceneGraph(objects=names, relations=relations):
            return pb.Condition(
                scene_graph=pb.SceneGraphCondition(
                    objects=names,
                    relations=[
                        pb.SceneRelation(subject=r.subject, predicate=r.predicate, object=r.object)
                        for r in relations
                    ],
                )
            )
        case Code(categorical=categorical, continuous=continuous):
            for index, choice in enumerate(categorical):
                whole(f"code.categorical[{index}]", choice, 0, _LARGEST_UINT32)
            return pb.Condition(
                code=pb.CodeCondition(categorical=categorical, continuous=continuous)
            )
        case _:
            assert_never(condition)


def event_from_message(message: image_service_pb2.GenerateEvent) -> GenerateEvent | None:
    """Return the event of a message, or None for a kind that a newer server may send."""
    match message.WhichOneof("event"):
        case "accepted":
            accepted = message.accepted
            return Accepted(
                request_id=accepted.request_id,
                model=version_from_message(accepted.model),
                seeds=tuple(accepted.seeds),
                resolutions=tuple(accepted.resolutions),
            )
        case "preview":
            return Preview(_image(message.preview.image))
        case "completed":
            return Completed(_image(message.completed.image))
        case "finished":
            finished = message.finished
            return Finished(
                request_id=finished.request_id,
                count=finished.count,
                warnings=tuple(Warning(w.reason, w.message) for w in finished.warnings),
                timings=_timings(finished.timings),
            )
        case _:
            return None


def result_from_message(answer: image_service_pb2.GenerateImagesResponse) -> GenerationResult:
    """Return the result of an answer of `ImageService.GenerateImages`."""
    return GenerationResult(
        images=tuple(_image(image) for image in answer.images),
        model=version_from_message(answer.model),
        warnings=tuple(Warning(w.reason, w.message) for w in answer.warnings),
        request_id=answer.request_id,
        timings=_timings(answer.timings),
    )


def model_from_message(model: model_service_pb2.Model) -> ModelInfo:
    """Return the description of a model."""
    return ModelInfo(
        name=model.name,
        version=model.version,
        checksum=model.checksum,
        conditions=tuple(_kind(number) for number in model.condition_kinds),
        resolutions=tuple(model.resolutions),
        encoder=model.encoder,
        embedding_size=model.embedding_size,
        labels=tuple(model.labels),
        parameters=model.parameters,
        is_default=model.is_default,
        code=_code(model.code),
        attributes=_attributes(model.attributes),
    )


def _code(messages: Iterable[model_service_pb2.CodePart]) -> tuple[CodePart, ...]:
    """Return the parts of a code; none when a newer server has a kind that is not known here."""
    parts: list[CodePart] = []
    for part in messages:
        kind = _PART_KINDS.get(part.kind)
        if kind is None:
            return ()
        parts.append(CodePart(part.name, kind, part.size, part.low, part.high))
    return tuple(parts)


def _attributes(messages: Iterable[model_service_pb2.Attribute]) -> tuple[Attribute, ...]:
    """Return the attributes; none when a newer server has a value that is not known here."""
    attributes: list[Attribute] = []
    for attribute in messages:
        kinds = [value.WhichOneof("value") for value in attribute.values]
        if None in kinds:
            return ()
        values = tuple(
            getattr(value, kind or "") for kind, value in zip(kinds, attribute.values, strict=True)
        )
        attributes.append(Attribute(attribute.name, values, attribute.low, attribute.high))
    return tuple(attributes)


def _kind(number: int) -> str:
    value = conditions_pb2.ConditionKind.DESCRIPTOR.values_by_number.get(number)
    # A newer server may know kinds that this version has no name for.
    return "unknown" if value is None else value.name.removeprefix("CONDITION_KIND_").lower()


def _label(label: Label) -> conditions_pb2.LabelCondition:
    if label.id is not None:
        whole("label.id", label.id, 0, _LARGEST_UINT32)
        return conditions_pb2.LabelCondition(id=label.id)
    # A label has exactly one of the two.
    return conditions_pb2.LabelCondition(name=label.name or "")


def _attribute(value: str | bool | float) -> conditions_pb2.AttributeValue:
    # The order matters: True and False are numbers to Python.
    if isinstance(value, bool):
        return conditions_pb2.AttributeValue(flag=value)
    if isinstance(value, str):
        return conditions_pb2.AttributeValue(name=value)
    return conditions_pb2.AttributeValue(number=value)


def _image(image: conditions_pb2.GeneratedImage) -> ServedImage:
    name = conditions_pb2.ImageFormat.Name(image.format).removeprefix("IMAGE_FORMAT_").lower()
    return ServedImage(
        data=image.data,
        format=cast(ImageFormat, name),
        width=image.width,
        height=image.height,
        seed=image.seed,
        index=image.index,
        stage=image.stage,
    )


def version_from_message(model: conditions_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(name=model.name, version=model.version, checksum=model.checksum)


def _timings(timings: conditions_pb2.Timings) -> Timings:
    return Timings(
        queue_ms=timings.queue_ms,
        encode_ms=timings.encode_ms,
        generate_ms=timings.generate_ms,
        pack_ms=timings.pack_ms,
        total_ms=timings.total_ms,
    )


def whole(field: str, value: object, low: int, high: int) -> None:
    remedy = f"give a whole number from {low} to {high}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(field, value, f"{shown(value)} is no whole number", remedy)
    if not low <= value <= high:
        raise InvalidInput(field, value, f"{value} is out of range", remedy)
