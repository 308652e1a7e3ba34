"""What `ImageService.Generate` sends: one event for all of a picture, or events of one thing each.

Inside the server a completed picture carries its previews, and the last one what ends the stream,
for all of them are there at the same moment. Callers that cannot read that get it taken apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from server.settings import MAX_RESPONSE_BYTES
from t2i.protocol.v1 import conditions_pb2
from t2i.protocol.v1.image_service_pb2 import (
    GenerateCompleted,
    GenerateEvent,
    GenerateFinished,
    GeneratePreview,
)

__all__ = ["completed", "to_send"]


def completed(
    stages: Sequence[conditions_pb2.GeneratedImage], finished: GenerateFinished | None
) -> GenerateEvent:
    """Return all of a picture as one event.

    Args:
        stages: its pictures, ascending; the last one is that of the last stage.
        finished: how the stream ends, with its last picture.
    """
    *previews, image = stages
    # Filled in where it is: messages given to a message are copied, level by level.
    event = GenerateEvent()
    event.completed.image.CopyFrom(image)
    event.completed.previews.extend(previews)
    if finished is not None:
        event.completed.finished.CopyFrom(finished)
    return event


def to_send(event: GenerateEvent, *, grouped: bool) -> Iterator[GenerateEvent]:
    """Yield the messages of an event.

    Args:
        event: one that may carry several things.
        grouped: whether the caller reads such events; one that is too large for a message is taken
            apart for this caller too.
    """
    carrier = event.completed
    if not event.HasField("completed") or (grouped and event.ByteSize() <= MAX_RESPONSE_BYTES):
        yield event
        return
    for preview in carrier.previews:
        yield GenerateEvent(preview=GeneratePreview(image=preview))
    yield GenerateEvent(completed=GenerateCompleted(image=carrier.image))
    if carrier.HasField("finished"):
        yield GenerateEvent(finished=carrier.finished)
