"""The calls of operators: which models are in memory, and which versions of them."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf import duration_pb2

from server.model_status import ModelState, Status
from server.model_store import ModelStore
from server.models import version
from server.refusals import Refusal, Violation, change_refused, invalid, not_ready
from t2i.errors import T2IError
from t2i.protocol.v1 import admin_service_pb2 as pb
from t2i.protocol.v1 import admin_service_pb2_grpc

__all__ = ["AdminService"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

T = TypeVar("T")

_AGAIN_SECONDS = 2.0
_STATES = {
    ModelState.UNLOADED: pb.MODEL_STATE_UNLOADED,
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.LOADED: pb.MODEL_STATE_LOADED,
    ModelState.FAILED: pb.MODEL_STATE_FAILED,
}


class AdminService(admin_service_pb2_grpc.AdminServiceServicer):
    """Changes which models are in memory, and tells about them.

    Args:
        store: the models.
        root: folder below which bundles may be named; None for nowhere.
    """

    def __init__(self, store: ModelStore, root: Path | None) -> None:
        self._served, self._root = store, root

    async def ListModels(
        self, request: pb.AdminServiceListModelsRequest, context: _Context
    ) -> pb.AdminServiceListModelsResponse:
        """Tell about all models."""
        store = self._store()
        return pb.AdminServiceListModelsResponse(
            models=[_message(status) for status in store.statuses()],
            memory_bytes=store.memory_bytes,
            memory_budget_bytes=store.budget or 0,
        )

    async def LoadModel(
        self, request: pb.LoadModelRequest, context: _Context
    ) -> pb.LoadModelResponse:
        """Have a model in memory, or serve one more."""
        store = self._store()
        if bool(request.model) == bool(request.path):
            raise invalid([Violation("model", "give either a model or a path")])
        if request.path:
            status = await _done(store.add(self._below_root(request.path)))
        else:
            status = await _done(store.load(request.model))
        return pb.LoadModelResponse(model=_message(status))

    async def UnloadModel(
        self, request: pb.UnloadModelRequest, context: _Context
    ) -> pb.UnloadModelResponse:
        """Take a model out of memory."""
        store = self._store()
        if not request.model:
            raise invalid([Violation("model", "is empty; name the model")])
        status = await _done(store.unload(request.model, forget=request.forget))
        return pb.UnloadModelResponse(model=_message(status))

    async def SwapModel(
        self, request: pb.SwapModelRequest, context: _Context
    ) -> pb.SwapModelResponse:
        """Put another version in the place of a model's present one."""
        store = self._store()
        source = self._below_root(request.path) if request.path else None
        swapped = await _done(store.swap(request.model, source))
        name = swapped.after.name
        (status,) = [each for each in store.statuses() if each.info.name == name]
        return pb.SwapModelResponse(
            model=_message(status),
            previous=version(swapped.before),
            changed=swapped.before.checksum != swapped.after.checksum,
        )

    def _store(self) -> ModelStore:
        if self._served.models is None:
            raise not_ready(_AGAIN_SECONDS)
        return self._served

    def _below_root(self, path: str) -> str:
        """Return the folder that a path stands for, which must be below the root.

        Raises:
            Refusal: it is not, or there is no root.
        """
        if self._root is None:
            raise invalid(
                [Violation("path", "no folder may be named; start with --models-root FOLDER")]
            )
        root = self._root.resolve()
        try:
            # Links are followed first: one that leads out of the root is out of it.
            folder = (root / path).resolve()
        except (OSError, ValueError, RuntimeError):
            folder = root
        if folder == root or not folder.is_relative_to(root):
            raise invalid([Violation("path", f"is not below {root}; name a folder there")])
        # As it was named: a link is followed again when the model is read again.
        return str(root / path)


async def _done(change: Awaitable[T]) -> T:
    """Return what a change gives, and refuse with what stands against it.

    Operators are told the cause, folders included; the callers of the other services are not.
    """
    try:
        return await change
    except Refusal:
        raise
    except T2IError as error:
        raise change_refused(" ".join(str(error).split())) from error
    except Exception as error:
        text = " ".join(str(error).split()) or "no reason was given"
        raise change_refused(f"{type(error).__name__}: {text[-400:]}") from error


def _message(status: Status) -> pb.ServedModel:
    message = pb.ServedModel(
        version=version(status.info),
        state=_STATES[status.state],
        source=status.source,
        weight_bytes=status.weight_bytes,
        encoder_bytes=status.encoder_bytes,
        in_flight=status.in_flight,
        draining=status.draining,
        failure=status.failure,
        is_default=status.is_default,
    )
    if status.idle_seconds is not None:
        idle = duration_pb2.Duration()
        idle.FromNanoseconds(int(status.idle_seconds * 1e9))
        message.idle.CopyFrom(idle)
    return message
