"""From what a batch asks for to its pictures, in whichever thread or process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from server.backends import Batch, Drawn, Item, Packed, Packing
from t2i.conditions import Condition, Text
from t2i.errors import T2IError
from t2i.pictures import encode_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from t2i.attention import WordMap
    from t2i.pipeline import Draw, GenerationWarning, Pipeline

__all__ = ["Encoded", "Memory", "draw", "pack", "packed", "timed_encode"]

_MEMORY_BYTES = 32 * 1024 * 1024
# What a caption takes, roughly, with its warnings and its place in the memory.
_CAPTION_BYTES = 2048


def draw(
    pipeline: Pipeline,
    items: Sequence[Item],
    encoded: dict[Condition | None, Encoded | T2IError],
    encode_seconds: float,
    begin: Callable[[], Sequence[bool]],
    *,
    cores: int | None = None,
) -> Batch:
    """Draw what is still wanted, and pack it, where the worker is.

    Packed here, the pictures of a batch reach the event loop all at once and ready to be sent. Each
    packed by itself later, they would wake it, and the callers behind it, one by one.

    Args:
        pipeline: the model.
        items: what to draw.
        encoded: what each of their conditions was encoded to.
        encode_seconds: what that took.
        begin: tells for each item whether it is still wanted.
        cores: that the worker keeps busy on a CPU; None for all that its process may.
    """
    places = [place for place, keep in enumerate(begin()) if keep]
    began = time.perf_counter()
    outcomes: list[Drawn | T2IError | None] = [None] * len(items)
    if not places:
        return Batch(outcomes, encode_seconds, 0.0)
    drawn = _draw_wanted(pipeline, [items[place] for place in places], encoded, cores)
    pictures = time.perf_counter()
    for place, outcome in zip(places, drawn, strict=True):
        outcomes[place] = packed(items[place], outcome) if isinstance(outcome, Drawn) else outcome
    return Batch(outcomes, encode_seconds, pictures - began, time.perf_counter() - pictures)


def packed(item: Item, drawn: Drawn) -> Drawn:
    """Return what was drawn for an item as the item asks for it."""
    if item.packing is None:
        return drawn
    return replace(drawn, pictures=(), packed=pack(drawn.pictures, item.packing))


def pack(pictures: Sequence[NDArray[np.uint8]], packing: Packing) -> tuple[Packed, ...]:
    """Return the files of the stages that are sent.

    Args:
        pictures: one `(r, r, 3)` array a stage, coarse to fine.
        packing: which stages, and how.
    """
    first = 0 if packing.previews else len(pictures) - 1
    return tuple(
        Packed(
            stage,
            picture.shape[1],
            picture.shape[0],
            encode_picture(picture, packing.format, packing.quality),
        )
        for stage, picture in enumerate(pictures[first:], first)
    )


def _draw_wanted(
    pipeline: Pipeline,
    items: Sequence[Item],
    encoded: dict[Condition | None, Encoded | T2IError],
    cores: int | None,
) -> list[Drawn | T2IError]:
    from t2i.pipeline import Draw, Fine, Towards

    draws: dict[int, Draw] = {}
    warnings: dict[int, tuple[GenerationWarning, ...]] = {}
    outcomes: dict[int, Drawn | T2IError] = {}
    for position, item in enumerate(items):
        found = [encoded[condition] for condition in item.conditions]
        refused = [each for each in found if isinstance(each, T2IError)]
        if refused:
            outcomes[position] = refused[0]
            continue
        known = [each for each in found if isinstance(each, Encoded)]
        embedding, *further = (each.embedding for each in known)
        towards, fine = item.towards, item.fine
        draws[position] = Draw(
            embedding,
            item.seed,
            item.truncation,
            item.conditioning_truncation,
            None if towards is None else Towards(further[0], towards.seed, towards.place),
            None if fine is None else Fine(further[-1], fine.stage),
        )
        warnings[position] = tuple(
            dict.fromkeys(warning for each in known for warning in each.warnings)
        )
    drawn = dict(zip(draws, pipeline.draw(list(draws.values()), cores=cores), strict=True))
    scores = _scores(pipeline, items, draws, drawn)
    maps = _maps(pipeline, items, draws)
    for position, pictures in drawn.items():
        outcomes[position] = Drawn(
            pictures, warnings[position], scores.get(position), maps.get(position, ())
        )
    return [outcomes[n] for n in range(len(items))]


def _scores(
    pipeline: Pipeline,
    items: Sequence[Item],
    draws: Mapping[int, Draw],
    drawn: Mapping[int, tuple[NDArray[np.uint8], ...]],
) -> dict[int, float]:
    """Return how well pictures agree with their conditions, where that is asked for."""
    scored = [position for position in drawn if items[position].scored]
    if not scored:
        return {}
    last = [drawn[position][-1] for position in scored]
    told = pipeline.score(last, [draws[position].embedding for position in scored])
    return dict(zip(scored, told, strict=True))


def _maps(
    pipeline: Pipeline, items: Sequence[Item], draws: Mapping[int, Draw]
) -> dict[int, tuple[WordMap, ...]]:
    """Return where pictures look at each word, where that is asked for."""
    attentive = [position for position in draws if items[position].attention]
    if not attentive:
        return {}
    found = pipeline.attention(
        [items[position].condition for position in attentive],
        [draws[position] for position in attentive],
    )
    return dict(zip(attentive, found, strict=True))


class Encoded(NamedTuple):
    """A condition as the generator takes it, and what is to be said about it."""

    embedding: Tensor
    warnings: tuple[GenerationWarning, ...]


class Memory:
    """The captions asked for last, with their embeddings and warnings, bounded in bytes.

    A text encoder remembers captions too, but not what is to be said about them, and it is asked
    in another thread. Other conditions are encoded in no time. Models are known by their checksums,
    so that nothing here keeps one in memory. Used by one thread only.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, Condition | None], Encoded] = OrderedDict()
        self._bytes = 0

    def look_up(
        self, pipeline: Pipeline, items: Sequence[Item]
    ) -> tuple[dict[Condition | None, Encoded | T2IError], list[Condition | None]]:
        """Return what is known of the items' conditions, and the conditions that are not."""
        known: dict[Condition | None, Encoded | T2IError] = {}
        unknown = []
        for condition in dict.fromkeys(c for item in items for c in item.conditions):
            found = self._recall(pipeline, condition)
            if found is None:
                unknown.append(condition)
            else:
                known[condition] = found
        return known, unknown

    def _recall(self, pipeline: Pipeline, condition: Condition | None) -> Encoded | None:
        if not isinstance(condition, Text):
            return None
        key = (pipeline.info.checksum, condition)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
        return found

    def keep(self, pipeline: Pipeline, new: dict[Condition | None, Encoded | T2IError]) -> None:
        """Keep what was encoded, and forget the oldest where it gets too much."""
        for condition, found in new.items():
            key = (pipeline.info.checksum, condition)
            if isinstance(condition, Text) and isinstance(found, Encoded):
                if key not in self._known:
                    self._bytes += _size(found)
                self._known[key] = found
        while self._bytes > _MEMORY_BYTES:
            _, found = self._known.popitem(last=False)
            self._bytes -= _size(found)


def _size(found: Encoded) -> int:
    return _CAPTION_BYTES + found.embedding.numel() * found.embedding.element_size()


def timed_encode(
    pipeline: Pipeline, conditions: Sequence[Condition | None]
) -> tuple[dict[Condition | None, Encoded | T2IError], float]:
    """Return the embedding of each condition, or why it has none, and the seconds it took."""
    began = time.perf_counter()
    found = _encode(pipeline, conditions)
    return found, time.perf_counter() - began


def _encode(
    pipeline: Pipeline, conditions: Sequence[Condition | None]
) -> dict[Condition | None, Encoded | T2IError]:
    """Return the embedding of each condition, or why it has none."""
    try:
        embeddings = pipeline.encode(conditions)
    except T2IError as error:
        if len(conditions) == 1:
            return {conditions[0]: error}
        # One bad condition must not spoil the rest of the batch: find it.
        return {c: e for condition in conditions for c, e in _encode(pipeline, [condition]).items()}
    return {
        # A copy: a row would keep the whole batch's memory.
        condition: Encoded(embedding.clone(), pipeline.warnings(condition))
        for condition, embedding in zip(conditions, embeddings, strict=True)
    }
