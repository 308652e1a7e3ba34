"""What the service sends back: pictures, the events of a stream, and models."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image

from t2i.attributes import Attribute
from t2i.codes import CodePart
from t2i.conditions import Code
from t2i.errors import InvalidInput
from t2i.files import write_atomically

__all__ = [
    "FORMATS",
    "Accepted",
    "Completed",
    "Finished",
    "GenerateEvent",
    "GenerationResult",
    "ImageFormat",
    "InterpolationResult",
    "ModelInfo",
    "ModelVersion",
    "Preview",
    "ServedImage",
    "ServedWordMap",
    "SweepResult",
    "Timings",
    "Warning",
]

ImageFormat = Literal["png", "jpeg", "webp", "raw"]
FORMATS: tuple[ImageFormat, ...] = ("png", "jpeg", "webp", "raw")


@dataclass(frozen=True, slots=True)
class ServedWordMap:
    """Where a picture looked at one word of its caption.

    Attributes:
        word: the word.
        side: side of the square map, which lies over the whole picture.
        weights: side × side bytes, rows from the top, in 255ths of the largest weight.
        largest: the largest weight, 0 to 1.
    """

    word: str
    side: int
    weights: bytes = field(repr=False)
    largest: float

    def pil(self) -> Image.Image:
        """Return the map as a grey Pillow image, white where the weight is largest."""
        return Image.frombytes("L", (self.side, self.side), self.weights)


@dataclass(frozen=True, slots=True)
class ServedImage:
    """One picture from the service.

    Attributes:
        data: the picture's bytes, in `format`.
        format: `"png"`, `"jpeg"`, `"webp"`, or `"raw"`: height × width × 3 bytes, rows from the
            top, each pixel R, G, B from 0 to 255.
        width: in pixels.
        height: in pixels.
        seed: the seed that it was drawn with; the same seed draws it again.
        index: which of the request's pictures it is, from 0.
        stage: the stage of the generator that drew it, from 0 (the coarsest).
        score: how well it agrees with its condition, -1 to 1, higher is better; None where it is
            not the best of several candidates.
        attention: where it looked at each word of the caption; empty unless asked for.
    """

    data: bytes = field(repr=False)
    format: ImageFormat
    width: int
    height: int
    seed: int
    index: int
    stage: int
    score: float | None = None
    attention: tuple[ServedWordMap, ...] = ()

    @property
    def resolution(self) -> int:
        """Height of the picture in pixels."""
        return self.height

    def pil(self) -> Image.Image:
        """Return the picture as a Pillow image in mode RGB.

        Raises:
            InvalidInput: if the bytes are not a picture of the announced size.
        """
        size = (self.width, self.height)
        try:
            if self.format == "raw":
                return Image.frombytes("RGB", size, self.data)
            picture = Image.open(io.BytesIO(self.data)).convert("RGB")
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        if picture.size != size:
            raise self._damaged()
        return picture

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file and return its path; the suffix names the format.

        The received bytes are written as they are when the suffix is theirs, and packed again
        otherwise. A reader never sees half a file: it gets its name when it is complete.

        Raises:
            InvalidInput: if the suffix is of no known picture format, or the bytes are damaged.
            OSError: if the file cannot be written.
        """
        path = Path(path)
        wanted = Image.registered_extensions().get(path.suffix.lower())
        if wanted is None or wanted not in Image.SAVE:
            raise InvalidInput(
                "path",
                str(path),
                f"the suffix {path.suffix!r} is of no known picture format",
                "use .png, .jpg or .webp",
            )
        if wanted.lower() == self.format:
            return write_atomically(path, self.data)
        packed = io.BytesIO()
        self.pil().save(packed, wanted)
        return write_atomically(path, packed.getvalue())

    def _repr_png_(self) -> bytes:
        """Return the picture as a notebook shows it."""
        if self.format == "png":
            return self.data
        packed = io.BytesIO()
        self.pil().save(packed, "PNG")
        return packed.getvalue()

    def _damaged(self) -> InvalidInput:
        return InvalidInput(
            "data",
            self.data,
            f"{len(self.data)} bytes are no {self.format} picture of {self.width}×{self.height}",
            "ask again",
        )


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """Which model answered, exactly.

    Attributes:
        name: the name to ask with.
        version: the version that its author gave it.
        checksum: SHA-256 of the bundle's manifest; same checksum, condition, seed and options give
            the same bytes of a PNG or raw picture.
    """

    name: str
    version: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Warning:
    """Something to know though the request was carried out.

    Attributes:
        reason: a stable name for programs, such as `"UNFAMILIAR_CONDITION"`.
        message: one sentence for people.
        distance: cosine distance of the caption to the training captions, 0 to 2; None where the
            reason has none, or the service does not tell it.
        threshold: the largest distance that is ordinary; None likewise.
    """

    reason: str
    message: str
    distance: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in milliseconds of wall-clock time on the server.

    Attributes:
        queue_ms: from the arrival of the request until its first picture went to a worker.
        encode_ms: from condition to embedding, in the batches that the request was in.
        generate_ms: in the generator, in these batches, which others may share; what several
            workers did at the same time counts once.
        pack_ms: packing the pictures into their format.
        total_ms: from the arrival of the request to its last message.
    """

    queue_ms: float
    encode_ms: float
    generate_ms: float
    pack_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """First event: the request is valid and waits for a worker.

    Attributes:
        request_id: the id of the request in the server's log.
        model: the model that will draw.
        seeds: the seed of each picture, in the order of their index; with `best_of` that of its
            first candidate.
        resolutions: side of the square pictures of each stage in pixels, ascending.
    """

    request_id: str
    model: ModelVersion
    seeds: tuple[int, ...]
    resolutions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of an earlier stage."""

    image: ServedImage


@dataclass(frozen=True, slots=True)
class Completed:
    """A picture of the last stage."""

    image: ServedImage


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event: all pictures have come.

    Attributes:
        request_id: as in `Accepted`.
        count: the number of completed pictures.
        warnings: what there is to know about the request.
        timings: where the time went on the server.
    """

    request_id: str
    count: int
    warnings: tuple[Warning, ...]
    timings: Timings


GenerateEvent = Accepted | Preview | Completed | Finished


class _Pictures:
    """What iterates over its pictures, and is indexed and counted like them."""

    __slots__ = ()

    images: tuple[ServedImage, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[ServedImage]:
        return iter(self.images)

    def __getitem__(self, index: int) -> ServedImage:
        return self.images[index]


@dataclass(frozen=True, slots=True)
class GenerationResult(_Pictures):
    """All pictures of a request.

    Iterating over a result, or indexing it, gives its pictures.

    Attributes:
        images: the pictures, in the order of their seeds.
        model: the model that drew them.
        warnings: what there is to know about the request.
        request_id: the id of the request in the server's log.
        timings: where the time went on the server.
    """

    images: tuple[ServedImage, ...]
    model: ModelVersion
    warnings: tuple[Warning, ...]
    request_id: str
    timings: Timings


@dataclass(frozen=True, slots=True)
class SweepResult(_Pictures):
    """What one part of a model's code does.

    Iterating over a result, or indexing it, gives its pictures.

    Attributes:
        images: the pictures, one for each code.
        codes: the codes, which differ in the part that was swept.
        seed: the seed of all pictures.
        model: the model that drew them.
    """

    images: tuple[ServedImage, ...]
    codes: tuple[Code, ...]
    seed: int
    model: ModelVersion


@dataclass(frozen=True, slots=True)
class InterpolationResult(_Pictures):
    """The way from one picture to another.

    Iterating over a result, or indexing it, gives its pictures.

    Attributes:
        images: the pictures in order; each is told with the seed of the first.
        places: where on the way each is, from 0 to 1.
        seeds: the seeds of the first and the last picture.
        model: the model that drew them.
        warnings: what there is to know about the two conditions.
    """

    images: tuple[ServedImage, ...]
    places: tuple[float, ...]
    seeds: tuple[int, int]
    model: ModelVersion
    warnings: tuple[Warning, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model of a service, as its bundle describes it.

    Attributes:
        name: the name to ask with.
        version: the version that its author gave it.
        checksum: SHA-256 of the bundle's manifest.
        conditions: the kinds of condition that it takes, such as `("text",)`; empty when it draws
            by seed alone.
        resolutions: side of the square pictures of each stage in pixels, ascending.
        encoder: the encoder that turns conditions into embeddings; may be empty.
        embedding_size: length of an embedding.
        labels: names of its classes, in the order of their numbers.
        parameters: number of the generator's parameters.
        is_default: whether a request without a model name goes to it.
        code: the parts of its code; empty when it takes none.
        attributes: its attributes; empty when it takes none.
        takes_fine: whether its later stages can follow another condition than the first.
        has_scorer: whether it can tell the best of several candidates.
        attention_words: how many tokens of a caption it attends to one by one; 0 when it reads
            captions as a whole.
    """

    name: str
    version: str
    checksum: str
    conditions: tuple[str, ...]
    resolutions: tuple[int, ...]
    encoder: str
    embedding_size: int
    labels: tuple[str, ...]
    parameters: int
    is_default: bool
    code: tuple[CodePart, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    takes_fine: bool = False
    has_scorer: bool = False
    attention_words: int = 0
