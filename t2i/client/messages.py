"""Between the words of this package and the messages of the protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never, cast

from t2i.attributes import Attribute
from t2i.client.errors import UnimplementedError
from t2i.client.results import (
    FORMATS,
    Accepted,
    Completed,
    Finished,
    GenerateEvent,
    GenerationResult,
    ImageFormat,
    InterpolationResult,
    ModelInfo,
    ModelVersion,
    Preview,
    ServedImage,
    ServedWordMap,
    Timings,
    Warning,
)
from t2i.codes import CodePart, CodePartKind, check_steps
from t2i.conditions import (
    Attributes,
    Code,
    Condition,
    Label,
    Layout,
    Picture,
    SceneGraph,
    Text,
    as_condition_or_none,
)
from t2i.errors import InvalidInput, shown
from t2i.protocol.v1 import conditions_pb2, image_service_pb2, model_service_pb2
from t2i.seeds import LARGEST_SEED, MAX_BEST_OF, places, read_ends

__all__ = ["Asked", "Way", "condition_to_message", "events_from_message", "model_from_message"]

_PART_KINDS: dict[int, CodePartKind] = {
    model_service_pb2.CODE_PART_KIND_CATEGORICAL: "categorical",
    model_service_pb2.CODE_PART_KIND_CONTINUOUS: "continuous",
}
_LARGEST_UINT32 = 2**32 - 1
# What the service draws for one request.
_MOST_IN_A_REQUEST = 16


@dataclass(frozen=True, slots=True)
class Way:
    """The way from one picture to another, in as many requests as it takes.

    Args:
        first: the first picture's condition.
        last: the last picture's.
        seeds: of the first and the last picture.
        places: where each picture is, from 0 to 1.
    """

    first: Condition | None
    last: Condition | None
    seeds: tuple[int, int]
    places: tuple[float, ...]

    @classmethod
    def of(
        cls,
        a: Condition | str | None,
        b: Condition | str | None,
        steps: int,
        seed: int | tuple[int, int] | None,
    ) -> Way:
        """Return the way that was asked for.

        Raises:
            InvalidInput: a value is of the wrong type, or out of range.
        """
        check_steps(steps)
        first = as_condition_or_none(a)
        last = first if b is None else as_condition_or_none(b)
        return cls(first, last, read_ends(seed), tuple(places(steps)))

    def parts(self) -> Iterator[Way]:
        """Yield parts of the way that a request can hold, two pictures or more each."""
        parts = -(-len(self.places) // _MOST_IN_A_REQUEST)
        size = -(-len(self.places) // parts)
        for start in range(0, len(self.places), size):
            yield replace(self, places=self.places[start : start + size])

    def result(self, results: Sequence[GenerationResult]) -> InterpolationResult:
        """Return the whole way from the answers to its parts.

        Raises:
            ServiceError: a picture is missing, as when a service knows nothing of ways.
        """
        drawn = sum(len(each) for each in results)
        if drawn != len(self.places):
            raise UnimplementedError(
                f"the service drew {drawn} of {len(self.places)} pictures of the way; it may be "
                "too old for interpolation"
            )
        warnings = dict.fromkeys(warning for each in results for warning in each.warnings)
        return InterpolationResult(
            images=tuple(image for each in results for image in each.images),
            places=self.places,
            seeds=self.seeds,
            model=results[0].model,
            warnings=tuple(warnings),
        )

    def message(self) -> conditions_pb2.Interpolation:
        """Return the message of where the way leads."""
        return conditions_pb2.Interpolation(
            condition=None if self.last == self.first else _condition(self.last),
            seed=self.seeds[1],
            places=self.places,
        )


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
    way: Way | None = None
    fine: Condition | None = None
    fine_from: int | None = None
    best_of: int | None = None
    attention: bool = False

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
        request_id: str | None = None,
        previews: bool = True,
        fine: Condition | str | None = None,
        fine_from: int | None = None,
        best_of: int | None = None,
        attention: bool = False,
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
        if best_of is not None:
            whole("best_of", best_of, 1, MAX_BEST_OF)
        if fine_from is not None:
            whole("fine_from", fine_from, 1, _LARGEST_UINT32)
            if fine is None:
                raise InvalidInput(
                    "fine_from",
                    fine_from,
                    "is given without fine",
                    "give fine as well, or leave it out",
                )
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
            condition=as_condition_or_none(condition),
            count=count,
            seeds=tuple(seeds or ()),
            model=model or "",
            format=format,
            quality=quality,
            truncation=float(truncation),
            conditioning_truncation=float(conditioning_truncation),
            previews=bool(previews),
            request_id=request_id or "",
            fine=as_condition_or_none(fine),
            fine_from=fine_from,
            best_of=best_of,
            attention=bool(attention),
        )

    def along(self, way: Way) -> Asked:
        """Return the same for the pictures of a way."""
        return replace(
            self, condition=way.first, count=len(way.places), seeds=way.seeds[:1], way=way
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
            interpolation=None if self.way is None else self.way.message(),
            fine=self._fine(),
            best_of=self.best_of,
            attention=self.attention,
            group_events=True,
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
            interpolation=None if self.way is None else self.way.message(),
            fine=self._fine(),
            best_of=self.best_of,
            attention=self.attention,
        )

    def _fine(self) -> conditions_pb2.FineCondition | None:
        if self.fine is None:
            return None
        return conditions_pb2.FineCondition(
            condition=condition_to_message(self.fine), resolution=self.fine_from or 0
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


def events_from_message(message: image_service_pb2.GenerateEvent) -> Iterator[GenerateEvent]:
    """Yield the events of a message: none for a kind that a newer server may send."""
    match message.WhichOneof("event"):
        case "accepted":
            accepted = message.accepted
            yield Accepted(
                request_id=accepted.request_id,
                model=version_from_message(accepted.model),
                seeds=tuple(accepted.seeds),
                resolutions=tuple(accepted.resolutions),
            )
        case "preview":
            yield Preview(_image(message.preview.image))
        case "completed":
            completed = message.completed
            for preview in completed.previews:
                yield Preview(_image(preview))
            yield Completed(_image(completed.image))
            if completed.HasField("finished"):
                yield _finished(completed.finished)
        case "finished":
            yield _finished(message.finished)


def result_from_message(answer: image_service_pb2.GenerateImagesResponse) -> GenerationResult:
    """Return the result of an answer of `ImageService.GenerateImages`."""
    return GenerationResult(
        images=tuple(_image(image) for image in answer.images),
        model=version_from_message(answer.model),
        warnings=_warnings(answer.warnings),
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
        takes_fine=model.takes_fine,
        has_scorer=model.has_scorer,
        attention_words=model.attention_words,
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
        score=image.score if image.HasField("score") else None,
        attention=tuple(
            ServedWordMap(map.word, map.side, map.weights, map.largest) for map in image.attention
        ),
    )


def _finished(finished: image_service_pb2.GenerateFinished) -> Finished:
    return Finished(
        request_id=finished.request_id,
        count=finished.count,
        warnings=_warnings(finished.warnings),
        timings=_timings(finished.timings),
    )


def version_from_message(model: conditions_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(name=model.name, version=model.version, checksum=model.checksum)


def _warnings(messages: Iterable[conditions_pb2.Warning]) -> tuple[Warning, ...]:
    return tuple(
        Warning(
            message.reason,
            message.message,
            message.distance if message.HasField("distance") else None,
            message.threshold if message.HasField("threshold") else None,
        )
        for message in messages
    )


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
