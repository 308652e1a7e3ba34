"""The SDK: asks a t2i service for pictures. It needs neither torch nor numpy.

>>> from t2i.client import Client
>>> with Client() as client:
...     client.generate_images("small bird with red head").images[0].save("bird.png")
"""

from t2i.client.admin import Admin, AsyncAdmin, ModelState, ServedModel, ServedModels, Swap
from t2i.client.asynchronous import AsyncClient, AsyncEventStream
from t2i.client.batches import AsyncBatches, Batches
from t2i.client.blocking import Client, EventStream
from t2i.client.errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
)
from t2i.client.jobs import BatchJob, BatchJobError, BatchJobState
from t2i.client.results import (
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
    SweepResult,
    Timings,
    Warning,
)
from t2i.client.settings import ClientClosed

__all__ = [
    "AbortedError",
    "Accepted",
    "Admin",
    "AlreadyExistsError",
    "AsyncAdmin",
    "AsyncBatches",
    "AsyncClient",
    "AsyncEventStream",
    "BatchJob",
    "BatchJobError",
    "BatchJobState",
    "Batches",
    "CancelledError",
    "Client",
    "ClientClosed",
    "Completed",
    "DataLossError",
    "DeadlineExceededError",
    "EventStream",
    "FailedPreconditionError",
    "FieldViolation",
    "Finished",
    "GenerateEvent",
    "GenerationResult",
    "ImageFormat",
    "InternalError",
    "InterpolationResult",
    "InvalidArgumentError",
    "ModelInfo",
    "ModelState",
    "ModelVersion",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "Preview",
    "ResourceExhaustedError",
    "ServedImage",
    "ServedModel",
    "ServedModels",
    "ServedWordMap",
    "ServiceError",
    "Swap",
    "SweepResult",
    "Timings",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "Warning",
]
