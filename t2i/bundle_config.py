"""What `config.json` of a bundle says, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from t2i.attributes import Attribute, AttributeValue, check_schema
from t2i.codes import CodePart, CodePartKind, check_parts
from t2i.conditions import CONDITION_KINDS, ConditionKind
from t2i.errors import BundleError, InvalidInput, shown
from t2i.manifest import FORMAT

__all__ = ["BundleConfig", "EncoderConfig", "NetworkConfig"]

T = TypeVar("T")

MAX_WORDS = 512

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A network: its registered class and the arguments that built it."""

    class_name: str
    arguments: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """Return it as in `config.json`."""
        return {"class": self.class_name, "arguments": dict(self.arguments)}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """A text encoder.

    Attributes:
        id: what `load_text_encoder` loads.
        dim: length of the embeddings that the generator takes.
        network: a network of the bundle that reads the encoder's token states instead of its
            pooled embedding (see `t2i.encoders.CaptionEncoder`), or None.
        words: number of tokens whose states stand behind the embedding of the whole caption (see
            `t2i.encoders.WordsEncoder`); 0 for the embedding alone.
    """

    id: str
    dim: int
    network: NetworkConfig | None = None
    words: int = 0


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """A bundle's description of itself.

    Attributes:
        name: what people call the model.
        version: the author's version.
        network: the generator.
        conditions: kinds of condition that it takes; empty when it draws by seed alone.
        resolutions: side of each stage's picture in pixels, ascending.
        encoder: its text encoder, or None when it takes no text.
        value_range: the values of black and white in the generator's output.
        labels: names of its classes by number; empty when it has none.
        training: free notes on how it was made.
        code: the parts of its code, in the order of the embedding; empty when it takes none.
        attributes: its attributes, in the order of the embedding; empty when it takes none.
        scorer: the network that tells the best of several candidates, or None without one.
    """

    name: str
    version: str
    network: NetworkConfig
    conditions: tuple[ConditionKind, ...]
    resolutions: tuple[int, ...]
    encoder: EncoderConfig | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    labels: tuple[str, ...] = ()
    training: Mapping[str, object] = field(default_factory=dict)
    code: tuple[CodePart, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    scorer: NetworkConfig | None = None

    @classmethod
    def from_json(cls, content: object) -> BundleConfig:
        """Check and return what `config.json` holds.

        Raises:
            BundleError: if a field is missing or not what it should be; names the field.
        """
        reader = _Reader(content)
        format_ = reader.take("format", int, "a whole number")
        if format_ != FORMAT:
            raise BundleError(
                f"config.json: format is {format_}, and this version of t2i reads format {FORMAT}; "
                "install the version of t2i that wrote it"
            )
        config = cls(
            name=reader.take("name", str, "a text"),
            version=reader.take("version", str, "a text"),
            network=_network("network", reader.take("network", dict, "an object")),
            conditions=tuple(reader.take("conditions", list, "a list")),
            resolutions=tuple(reader.take("resolutions", list, "a list")),
            encoder=_encoder(reader.take_if_there("encoder", dict, "an object")),
            value_range=_range(reader.take("value_range", list, "a list")),
            labels=tuple(reader.take("labels", list, "a list")),
            training=reader.take("training", dict, "an object"),
            code=_each("code", reader.take_if_there("code", list, "a list"), _code_part),
            attributes=_each(
                "attributes", reader.take_if_there("attributes", list, "a list"), _attribute
            ),
        )
        scorer = reader.take_if_there("scorer", dict, "an object with class and arguments")
        if scorer is not None:
            config = replace(config, scorer=_network("scorer", scorer))
        reader.refuse_the_rest()
        config._check()
        return config

    def to_json(self) -> dict[str, object]:
        """Return it as in `config.json`."""
        encoder: dict[str, object] | None = None
        if self.encoder is not None:
            encoder = {"id": self.encoder.id, "dim": self.encoder.dim}
            if self.encoder.network is not None:
                encoder["network"] = self.encoder.network.to_json()
            if self.encoder.words:
                encoder["words"] = self.encoder.words
        content: dict[str, object] = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "network": self.network.to_json(),
            "conditions": list(self.conditions),
            "encoder": encoder,
            "resolutions": list(self.resolutions),
            "value_range": list(self.value_range),
            "labels": list(self.labels),
            "training": dict(self.training),
        }
        if self.scorer is not None:
            content["scorer"] = self.scorer.to_json()
        if self.code:
            content["code"] = [
                {
                    "name": part.name,
                    "kind": part.kind,
                    "size": part.size,
                    "low": part.low,
                    "high": part.high,
                }
                for part in self.code
            ]
        if self.attributes:
            content["attributes"] = [
                {"name": attribute.name, "values": list(attribute.values)}
                if attribute.values
                else {"name": attribute.name, "low": attribute.low, "high": attribute.high}
                for attribute in self.attributes
            ]
        return content

    @property
    def embedding_dim(self) -> int:
        """Length of the embeddings that the generator takes; 0 when it draws by seed alone."""
        lengths: dict[str, int] = {
            "text": self.encoder.dim if self.encoder is not None else 0,
            "label": len(self.labels),
            "code": sum(part.size for part in self.code),
            "attributes": sum(attribute.dim for attribute in self.attributes),
        }
        # Where there are several kinds their embeddings are of one length, which a pipeline checks.
        return next((lengths[kind] for kind in self.conditions if kind in lengths), 0)

    def _check(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise _wrong("name", self.name, "1 to 64 letters, digits, dots, dashes, underscores")
        known = [kind for kind in CONDITION_KINDS if kind in self.conditions]
        if len(known) != len(self.conditions):
            raise _wrong(
                "conditions",
                self.conditions,
                f"some of {', '.join(CONDITION_KINDS)}, each once, or none",
            )
        for kind, name, described, what in (
            ("text", "encoder", self.encoder, "the text encoder, since the bundle takes text"),
            ("label", "labels", self.labels, "the names of the classes, since it takes labels"),
            ("code", "code", self.code, "the parts of the code, since the bundle takes codes"),
            ("attributes", "attributes", self.attributes, "its attributes, since it takes them"),
        ):
            if kind in self.conditions and not described:
                raise _wrong(name, [] if name != "encoder" else None, what)
        if not all(isinstance(label, str) for label in self.labels):
            raise _wrong("labels", self.labels, "a list of texts")
        sides = self.resolutions
        if not sides or not all(type(side) is int and 1 <= side <= 4096 for side in sides):
            raise _wrong("resolutions", list(sides), "sides in pixels, 1 to 4096")
        if list(sides) != sorted(set(sides)):
            raise _wrong("resolutions", list(sides), "ascending sides in pixels")
        try:
            if self.code:
                check_parts(self.code)
            if self.attributes:
                check_schema(self.attributes)
        except InvalidInput as error:
            raise BundleError(f"config.json: {error}") from error


class _Reader:
    """Takes fields out of a JSON object, each of its type."""

    def __init__(self, content: object) -> None:
        if not isinstance(content, dict):
            raise BundleError("config.json: is not a JSON object; fetch the bundle again")
        self._rest: dict[str, object] = dict(content)

    def take(self, name: str, kind: type[T], what: str) -> T:
        if name not in self._rest:
            raise BundleError(f"config.json: {name} is missing; it should be {what}")
        value = self._rest.pop(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _wrong(name, value, what)
        return value

    def take_if_there(self, name: str, kind: type[T], what: str) -> T | None:
        if self._rest.get(name) is None:
            self._rest.pop(name, None)
            return None
        return self.take(name, kind, what)

    def refuse_the_rest(self) -> None:
        if self._rest:
            raise BundleError(
                f"config.json: {', '.join(sorted(self._rest))} is not a known field; "
                "remove it, or put notes under training"
            )


def _network(field_name: str, content: object) -> NetworkConfig:
    if isinstance(content, dict) and content.keys() == {"class", "arguments"}:
        class_name, arguments = content["class"], content["arguments"]
        if isinstance(class_name, str) and isinstance(arguments, dict):
            return NetworkConfig(class_name, arguments)
    raise _wrong(field_name, content, "an object with class and arguments")


def _encoder(content: Mapping[str, object] | None) -> EncoderConfig | None:
    if content is None:
        return None
    id_, dim, words = content.get("id"), content.get("dim"), content.get("words", 0)
    known = content.keys() <= {"id", "dim", "network", "words"}
    if not known or not isinstance(id_, str) or type(dim) is not int or dim < 1:
        raise _wrong("encoder", content, "an object with id, dim and perhaps network and words")
    if type(words) is not int or not 0 <= words <= MAX_WORDS:
        raise _wrong("encoder.words", words, f"a number of words, 0 to {MAX_WORDS}")
    network = content.get("network")
    return EncoderConfig(
        id_, dim, None if network is None else _network("encoder.network", network), words
    )


def _each(
    name: str, content: Sequence[object] | None, read: Callable[[Mapping[str, object]], T]
) -> tuple[T, ...]:
    """Return what a list of objects describes; a wrong one is named by its place."""
    found: list[T] = []
    for index, entry in enumerate(content or ()):
        place = f"{name}[{index}]"
        if not isinstance(entry, dict):
            raise _wrong(place, entry, "an object")
        try:
            found.append(read(entry))
        except InvalidInput as error:
            raise BundleError(f"config.json: {place}.{error}") from error
        except KeyError as error:
            raise _wrong(place, entry, f"an object with {error.args[0]}") from error
    return tuple(found)


def _code_part(content: Mapping[str, object]) -> CodePart:
    _only(content, ("name", "kind", "size", "low", "high"))
    ends: tuple[object, object] = (0.0, 1.0)
    if content["kind"] != "categorical":
        ends = (content["low"], content["high"])
    # The part itself checks that these are of their types.
    return CodePart(
        cast("str", content["name"]),
        cast("CodePartKind", content["kind"]),
        cast("int", content["size"]),
        cast("float", ends[0]),
        cast("float", ends[1]),
    )


def _attribute(content: Mapping[str, object]) -> Attribute:
    name = cast("str", content["name"])
    if "values" not in content:
        _only(content, ("name", "low", "high"))
        return Attribute(
            name, low=cast("float", content["low"]), high=cast("float", content["high"])
        )
    _only(content, ("name", "values"))
    values = content["values"]
    if not isinstance(values, list) or not values:
        raise InvalidInput("values", values, f"{shown(values)} is no list", "list the values")
    return Attribute(name, tuple(cast("list[AttributeValue]", values)))


def _only(content: Mapping[str, object], known: Sequence[str]) -> None:
    for name in content:
        if name not in known:
            raise InvalidInput(
                name, content[name], "is not a known field", f"known are {', '.join(known)}"
            )


def _range(values: list[object]) -> tuple[float, float]:
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise _wrong("value_range", values, "two numbers, the lower first")
    return numbers[0], numbers[1]


def _wrong(name: str, value: object, what: str) -> BundleError:
    return BundleError(f"config.json: {name} is {shown(value)}; it should be {what}")
