"""From a request message to what is asked, every field checked and every fault named."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from server.backends import Fine, Item, Packing, Towards
from server.conditions import read_condition
from server.models import Models
from server.refusals import Violation, invalid
from server.settings import MAX_IMAGES, MAX_RESPONSE_BYTES
from t2i.conditions import MAX_NAME_CHARACTERS, Condition
from t2i.errors import InvalidInput
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1 import image_service_pb2
from t2i.seeds import LARGEST_SEED, candidate_seeds
from t2i.takes import check_attention, check_best_of, fine_stage, refusal

if TYPE_CHECKING:
    from t2i.pictures import ImageFormat
    from t2i.pipeline import PipelineInfo

__all__ = ["Ask", "is_request_id", "read_request", "violation"]

MAX_CANDIDATES = 64
FORMATS: dict[pb.ImageFormat.ValueType, ImageFormat] = {
    pb.IMAGE_FORMAT_PNG: "png",
    pb.IMAGE_FORMAT_JPEG: "jpeg",
    pb.IMAGE_FORMAT_WEBP: "webp",
    pb.IMAGE_FORMAT_RAW: "raw",
}
# A picture in a lossless format can be a little larger than its pixels, and carries its fields.
_BYTES_BESIDE_PIXELS = 1024
_Request: TypeAlias = image_service_pb2.GenerateRequest | image_service_pb2.GenerateImagesRequest
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a valid request asks for.

    Attributes:
        model: the model that draws.
        items: one a picture; packed by the workers unless they are candidates.
        format: PNG, JPEG, WEBP or RAW.
        quality: 1 to 100, or None for the format's own.
        previews: whether pictures of earlier stages are wanted.
        best_of: how many items in a row are candidates for one picture.
    """

    model: PipelineInfo
    items: tuple[Item, ...]
    format: pb.ImageFormat.ValueType
    quality: int | None
    previews: bool
    best_of: int = 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture: that of its first candidate."""
        return tuple(item.seed for item in self.items[:: self.best_of])

    @property
    def packing(self) -> Packing:
        """How its pictures are sent."""
        return Packing(FORMATS[self.format], self.quality, self.previews)


def is_request_id(text: str) -> bool:
    """Tell whether a text is a UUID of version 4 in its usual form."""
    return _UUID4.fullmatch(text) is not None


def violation(error: InvalidInput, place: str = "condition") -> Violation:
    """Return the fault of a condition as the wrong field of the request that carried it."""
    # Library errors name fields from the condition on: "text", "label.id", "" for the whole.
    field = f"{place}.{error.field}" if error.field else place
    return Violation(field, f"{error.problem}; {error.remedy}")


def read_request(
    request: _Request,
    request_id: str,
    models: Models,
) -> Ask:
    """Check a request and return what it asks for.

    Args:
        request: the message.
        request_id: the request's valid id, the caller's or the server's choice; seeds that the
            caller left open are drawn from it, so that asking again gives the same pictures.
        models: the models that can be asked.

    Raises:
        Refusal: INVALID_ARGUMENT with every wrong field, or NOT_FOUND for an unknown model.
    """
    faults = _Faults()
    if request.request_id and not is_request_id(request.request_id):
        faults.add("request_id", "is not a UUID of version 4; leave it empty or give one")
    if len(request.model) > MAX_NAME_CHARACTERS:
        faults.add("model", f"has {len(request.model)} characters; give {MAX_NAME_CHARACTERS}")
    condition = _read_condition("condition", request.condition, request, models, faults)
    seeds = _read_seeds(request, request_id, faults)
    ways = _read_interpolation(request, condition, seeds, models, faults)
    fine = _read_fine(request, models, faults)
    best_of = _read_best_of(request, len(seeds), models, faults)
    _check_attention(request, condition, models, faults)
    truncation, conditioning_truncation = _read_truncations(request.options, faults)
    image_format, quality = _read_format(request.options, faults)
    faults.refuse_if_any()
    model = models.find(request.model)
    if isinstance(request, image_service_pb2.GenerateImagesRequest):
        previews = False
        _check_response_size(len(seeds), model, faults, attention=request.attention)
    else:
        previews = request.previews if request.HasField("previews") else True
    faults.refuse_if_any()
    packing = None if best_of > 1 else Packing(FORMATS[image_format], quality, previews)

    def item(seed: int, towards: Towards | None = None) -> Item:
        return Item(
            condition,
            seed,
            truncation,
            conditioning_truncation,
            towards,
            fine,
            scored=best_of > 1,
            attention=request.attention,
            packing=packing,
        )

    if ways:
        items = tuple(item(seeds[0], way) for way in ways)
    else:
        candidates = (each for seed in seeds for each in candidate_seeds(seed, best_of))
        items = tuple(item(each) for each in candidates)
    return Ask(model, items, image_format, quality, previews, best_of)


class _Faults:
    """Collects the wrong fields of one request."""

    def __init__(self) -> None:
        self._found: list[Violation] = []

    def add(self, field: str, description: str) -> None:
        self._found.append(Violation(field, description))

    def refuse(self, fault: Violation) -> None:
        self._found.append(fault)

    def refuse_if_any(self) -> None:
        if self._found:
            raise invalid(self._found)


def _read_condition(
    place: str, message: pb.Condition, request: _Request, models: Models, faults: _Faults
) -> Condition | None:
    """Return the condition of a message; `place` is the message's in the request."""
    try:
        condition = read_condition(message)
    except InvalidInput as error:
        faults.refuse(violation(error, place))
        return None
    # Whether it fits a model that is not there is no question; the model is refused later.
    if request.model in models:
        refused = refusal(models.find(request.model), condition)
        if refused is not None:
            field = place if condition is None else f"{place}.{condition.kind}"
            faults.add(field, "; ".join(refused))
    return condition


def _read_interpolation(
    request: _Request,
    condition: Condition | None,
    seeds: tuple[int, ...],
    models: Models,
    faults: _Faults,
) -> tuple[Towards, ...]:
    """Return what each picture is on the way to, or nothing where no way is asked for."""
    if not request.HasField("interpolation"):
        return ()
    if request.HasField("fine"):
        faults.add("fine", "does not go with interpolation; leave out one of the two")
    way = request.interpolation
    if not way.places or (request.HasField("count") and request.count != len(way.places)):
        wanted = request.count if request.HasField("count") else f"1 to {MAX_IMAGES}"
        faults.add("interpolation.places", f"has {len(way.places)} places; give {wanted}")
    for index, place in enumerate(way.places):
        if not (math.isfinite(place) and 0 <= place <= 1):
            faults.add(f"interpolation.places[{index}]", f"{place} is out of range; give 0 to 1")
    end = condition
    if way.HasField("condition"):
        name = "interpolation.condition"
        end = _read_condition(name, way.condition, request, models, faults)
    seed = way.seed if way.HasField("seed") else (seeds[0] if seeds else 0)
    if seed > LARGEST_SEED:
        faults.add("interpolation.seed", f"{seed} is out of range; give 0 to {LARGEST_SEED}")
    return tuple(Towards(end, seed, place) for place in way.places)


def _read_fine(request: _Request, models: Models, faults: _Faults) -> Fine | None:
    if not request.HasField("fine"):
        return None
    name = "fine.condition"
    condition = _read_condition(name, request.fine.condition, request, models, faults)
    if request.model not in models:
        return None
    if condition is None:
        # Said already where the model takes a condition.
        if not models.find(request.model).conditions:
            faults.add("fine", "the model takes no condition; leave it out")
        return None
    try:
        stage = fine_stage(models.find(request.model), condition, request.fine.resolution or None)
    except InvalidInput as error:
        field = "fine.resolution" if error.field == "fine_from" else "fine"
        faults.add(field, f"{error.problem}; {error.remedy}")
        return None
    return Fine(condition, stage)


def _read_best_of(request: _Request, count: int, models: Models, faults: _Faults) -> int:
    if not request.HasField("best_of"):
        return 1
    if request.model not in models:
        return 1
    alone = not request.HasField("fine") and not request.HasField("interpolation")
    try:
        check_best_of(models.find(request.model), request.best_of, alone=alone)
    except InvalidInput as error:
        faults.add("best_of", f"{error.problem}; {error.remedy}")
        return 1
    if count * request.best_of > MAX_CANDIDATES:
        faults.add(
            "best_of",
            f"{request.best_of} for each of {count} pictures are more than {MAX_CANDIDATES}; ask "
            "for fewer pictures at once",
        )
    return request.best_of


def _check_attention(
    request: _Request, condition: Condition | None, models: Models, faults: _Faults
) -> None:
    if request.model not in models:
        return
    alone = not request.HasField("fine") and not request.HasField("interpolation")
    try:
        check_attention(models.find(request.model), request.attention, condition, alone=alone)
    except InvalidInput as error:
        faults.add("attention", f"{error.problem}; {error.remedy}")


def _read_seeds(request: _Request, request_id: str, faults: _Faults) -> tuple[int, ...]:
    seeds = tuple(request.seeds)
    if request.HasField("interpolation"):
        return _read_way_seeds(request, request_id, faults)
    count = request.count if request.HasField("count") else len(seeds) or 1
    if not 1 <= count <= MAX_IMAGES:
        field = "count" if request.HasField("count") else "seeds"
        faults.add(field, f"asks for {count} pictures; give 1 to {MAX_IMAGES}")
        return ()
    if seeds and len(seeds) != count:
        faults.add("seeds", f"has {len(seeds)} seeds for {count} pictures; give {count} or none")
    for index, seed in enumerate(seeds):
        if seed > LARGEST_SEED:
            faults.add(f"seeds[{index}]", f"{seed} is out of range; give 0 to {LARGEST_SEED}")
    return seeds or tuple(_seed(request_id, index) for index in range(count))


def _read_way_seeds(request: _Request, request_id: str, faults: _Faults) -> tuple[int, ...]:
    """Return the seed of a way's beginning once for each picture."""
    count = len(request.interpolation.places)
    if count > MAX_IMAGES:
        faults.add("interpolation.places", f"has {count} places; give 1 to {MAX_IMAGES}")
        return ()
    if len(request.seeds) > 1:
        faults.add("seeds", f"has {len(request.seeds)} seeds for one way; give one or none")
    seed = request.seeds[0] if request.seeds else _seed(request_id, 0)
    if seed > LARGEST_SEED:
        faults.add("seeds[0]", f"{seed} is out of range; give 0 to {LARGEST_SEED}")
    return (seed,) * max(1, count)


def _seed(request_id: str, index: int) -> int:
    digest = hashlib.sha256(f"{request_id.lower()}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _read_truncations(options: pb.GenerateOptions, faults: _Faults) -> tuple[float, float]:
    values = []
    for name in ("truncation", "conditioning_truncation"):
        value: float = getattr(options, name) if options.HasField(name) else 1.0
        if not (math.isfinite(value) and 0 <= value <= 1):
            faults.add(f"options.{name}", f"{value} is out of range; give 0 to 1")
        values.append(value)
    return values[0], values[1]


def _read_format(
    options: pb.GenerateOptions, faults: _Faults
) -> tuple[pb.ImageFormat.ValueType, int | None]:
    image_format = options.format or pb.IMAGE_FORMAT_PNG
    if image_format not in FORMATS:
        # A number that this version of the protocol does not know.
        faults.add("options.format", f"{image_format} is unknown; give PNG, JPEG, WEBP or RAW")
    if not options.HasField("quality"):
        return image_format, None
    if image_format in (pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_RAW):
        faults.add("options.quality", "is for JPEG and WEBP only; leave it out or change format")
    elif not 1 <= options.quality <= 100:
        faults.add("options.quality", f"{options.quality} is out of range; give 1 to 100")
    return image_format, options.quality


def _check_response_size(
    count: int, model: PipelineInfo, faults: _Faults, *, attention: bool
) -> None:
    side = model.resolutions[-1]
    # Each word has a map of the side of the stage before the last, and its own letters.
    maps = model.attention_words * (model.resolutions[-2:][0] ** 2 + 64) if attention else 0
    most = max(1, MAX_RESPONSE_BYTES // (side * side * 3 + _BYTES_BESIDE_PIXELS + maps))
    if count > most:
        faults.add(
            "count",
            f"{count} pictures of {side} pixels may exceed one message; give at most {most}, or "
            "call Generate, which sends one picture a message",
        )
