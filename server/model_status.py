"""What is told about the models of a server and what was done with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t2i.pipeline import PipelineInfo

__all__ = ["Changes", "ModelState", "Status", "Swapped"]


class ModelState(Enum):
    """What a request for a model meets."""

    UNLOADED = "unloaded"
    """It is loaded for the first request."""
    LOADING = "loading"
    LOADED = "loaded"
    FAILED = "failed"
    """The last load failed; a request tries again after a pause."""


@dataclass(frozen=True, slots=True)
class Status:
    """A model as its operator sees it.

    Attributes:
        info: the version that requests are given.
        source: name or folder of the bundle.
        state: what a request meets.
        weight_bytes: what the version's own weights take when loaded, in all copies.
        encoder_bytes: what its text model takes when loaded, in all copies; other models that
            read captions with the same one share it.
        in_flight: requests, batches and jobs that need this version.
        idle_seconds: since the last request; None when there was none.
        draining: checksums of earlier versions that something still needs.
        failure: why the last load failed; empty if it did not.
        is_default: whether requests that name no model go to it.
    """

    info: PipelineInfo
    source: str
    state: ModelState
    weight_bytes: int
    encoder_bytes: int
    in_flight: int
    idle_seconds: float | None
    draining: tuple[str, ...]
    failure: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a swap did.

    Attributes:
        before: the version that requests had.
        after: the version that they have now; the same when the bundle was the same.
    """

    before: PipelineInfo
    after: PipelineInfo


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of models since the server started.

    Attributes:
        loaded: times that one was brought into memory.
        unloaded: times that one left it.
        swapped: names that were given another version.
        failed: loads that failed.
    """

    loaded: int
    unloaded: int
    swapped: int
    failed: int
