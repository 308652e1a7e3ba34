"""The logic of one streamed request, apart from how its messages travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from t2i.client.errors import InternalError, ServiceError
from t2i.client.messages import events_from_message
from t2i.client.results import Accepted, Completed, Finished, GenerateEvent, Preview
from t2i.client.retries import Attempts
from t2i.protocol.v1 import image_service_pb2

__all__ = ["StreamState"]


@dataclass(slots=True)
class StreamState:
    """What of a streamed request has been delivered to the caller so far.

    Without a request id the request is repeated only before its first event. With one, a repeated
    request draws the same pictures, so the stream goes on after the last event that was delivered.

    Args:
        request_id: the id that the caller gave, or the empty string.
        attempts: the attempts of the request.
    """

    request_id: str
    attempts: Attempts
    accepted: Accepted | None = None
    finished: bool = False
    _seen: set[tuple[int, int]] = field(default_factory=set)
    _interrupted_by: ServiceError | None = None

    @property
    def known_id(self) -> str | None:
        """The id under which the server knows the request, or None when nothing is known."""
        if self.accepted is not None and self.accepted.request_id:
            return self.accepted.request_id
        return self.request_id or None

    def receive(self, message: image_service_pb2.GenerateEvent) -> Iterator[GenerateEvent]:
        """Yield the events of a message, but for those that the caller has already.

        Raises:
            ServiceError: the error that interrupted the stream, when the repeated request draws
                other pictures and the stream therefore cannot go on.
        """
        return filter(self._is_new, events_from_message(message))

    def _is_new(self, event: GenerateEvent) -> bool:
        if isinstance(event, Accepted):
            if self.accepted is None:
                self.accepted = event
                return True
            same = (event.seeds, event.model) == (self.accepted.seeds, self.accepted.model)
            if not same and self._interrupted_by is not None:
                raise self._interrupted_by
            return False
        if isinstance(event, Preview | Completed):
            key = (event.image.index, event.image.stage)
            if key in self._seen:
                return False
            self._seen.add(key)
        elif isinstance(event, Finished):
            self.finished = True
        return True

    def wait_after(self, error: ServiceError) -> float:
        """Return how many seconds to wait before the request is repeated.

        Raises:
            ServiceError: the given error, when the request must not be repeated.
        """
        if self.accepted is not None and not self.request_id:
            raise error
        self._interrupted_by = error
        return self.attempts.wait_after(error)

    def check_finished(self) -> None:
        """Check that a stream that ended without an error was complete.

        Raises:
            InternalError: if its last event is missing.
        """
        if not self.finished:
            raise InternalError("the stream ended before its last event", request_id=self.known_id)
