"""What an operator may ask of a server: which models are in memory, and which versions of them.

The service for operators has an address and a token of its own; see `t2i-serve --admin`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import grpc
from google.protobuf.message import Message

from t2i.client.connection import Connection
from t2i.client.errors import from_call
from t2i.client.results import ModelVersion
from t2i.client.settings import Settings
from t2i.protocol.v1 import admin_service_pb2 as pb
from t2i.protocol.v1 import admin_service_pb2_grpc, conditions_pb2

__all__ = ["Admin", "AsyncAdmin", "ModelState", "ServedModel", "ServedModels", "Swap"]

DEFAULT_ADMIN_ADDRESS = "127.0.0.1:50052"

ModelState = Literal["unloaded", "loading", "loaded", "failed"]
_STATES: Mapping[int, ModelState] = {
    pb.MODEL_STATE_UNLOADED: "unloaded",
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_LOADED: "loaded",
    pb.MODEL_STATE_FAILED: "failed",
}
_Answer = TypeVar("_Answer", bound=Message)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a server.

    Attributes:
        version: the version that requests are given.
        state: what a request meets: `"loaded"`; `"unloaded"`, the first request loads it;
            `"loading"`, requests wait; `"failed"`, the last load failed.
        source: name or folder of its bundle.
        weight_bytes: what its own weights take when loaded, in all workers; 0 if it is not known.
        encoder_bytes: what its text encoder takes when loaded, in all workers; models with the same
            one share it.
        in_flight: requests, batches and jobs that need it now.
        idle_seconds: since the last request; None when there was none.
        draining: checksums of earlier versions that something still needs.
        failure: why the last load failed; empty if it did not.
        is_default: whether requests that name no model go to it.
    """

    version: ModelVersion
    state: ModelState
    source: str
    weight_bytes: int
    encoder_bytes: int
    in_flight: int
    idle_seconds: float | None
    draining: tuple[str, ...]
    failure: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class ServedModels:
    """All models of a server.

    Attributes:
        models: the default first, then by name.
        memory_bytes: what the weights of all loaded versions take together.
        memory_budget_bytes: what they may take; 0 for any.
    """

    models: tuple[ServedModel, ...]
    memory_bytes: int
    memory_budget_bytes: int


@dataclass(frozen=True, slots=True)
class Swap:
    """What a swap did.

    Attributes:
        model: the model now.
        previous: the version that requests had before.
        changed: whether it is another one now.
    """

    model: ServedModel
    previous: ModelVersion
    changed: bool


class Admin:
    """Asks the operators' service of a server. Use it in a `with` block, or close it at the end.

        >>> with Admin() as admin:
        ...     admin.swap("birds", "/srv/models/birds-2")

    Args:
        address: `host:port`. Without it `T2I_ADMIN_ADDRESS`, else 127.0.0.1:50052.
        token: the operators' token. Without it `T2I_ADMIN_TOKEN`.
        ca: PEM file of the authority that signed the server's certificate. Without it `T2I_CA`.
        cert: PEM file with a certificate of one's own. Without it `T2I_CERT`.
        key: PEM file with its private key. Without it `T2I_KEY`.
        timeout: seconds for a call. A model that is loaded takes its time.

    Raises:
        InvalidInput: one of these values cannot be used.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        timeout: float = 300.0,
    ) -> None:
        self._connection = _connection(address, token, ca, cert, key)
        self._timeout = Settings(timeout=timeout, max_retries=0).timeout
        self._channel = self._connection.open()
        self._stub = admin_service_pb2_grpc.AdminServiceStub(self._channel)

    def models(self) -> ServedModels:
        """Return all models, the default first.

        Raises:
            ServiceError: what the service answers.
        """
        request = pb.AdminServiceListModelsRequest()
        return _all(self._ask(self._stub.ListModels, request))

    def load(
        self, model: str | None = None, *, path: str | os.PathLike[str] | None = None
    ) -> ServedModel:
        """Have a model in memory, or serve one more.

        Args:
            model: name of a model that is served.
            path: in place of that, a bundle to serve as well, below the server's `--models-root`.

        Raises:
            ServiceError: what the service answers; `FailedPreconditionError` says why it cannot be
                loaded.
        """
        return _served(self._ask(self._stub.LoadModel, _load(model, path)).model)

    def unload(self, model: str, *, forget: bool = False) -> ServedModel:
        """Take a model out of memory, as soon as no request needs it.

        Args:
            model: its name.
            forget: do not serve it any more. Without this the next request loads it again.

        Raises:
            ServiceError: what the service answers.
        """
        request = pb.UnloadModelRequest(model=model, forget=forget)
        return _served(self._ask(self._stub.UnloadModel, request).model)

    def swap(self, model: str | None = None, path: str | os.PathLike[str] | None = None) -> Swap:
        """Put another version in the place of a model's present one, without failing a request.

        Args:
            model: its name; by default the default model.
            path: the new version's bundle, below the server's `--models-root`; by default the model
                is read again from where it was read before.

        Raises:
            ServiceError: what the service answers; `FailedPreconditionError` says why the old
                version stays.
        """
        return _swap(self._ask(self._stub.SwapModel, _swap_request(model, path)))

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, call: Any, request: Message) -> Any:
        try:
            return call(request, timeout=self._timeout, metadata=self._connection.metadata)
        except grpc.RpcError as error:
            raise from_call(error, address=self._connection.address, request_id=None) from None


class AsyncAdmin:
    """`Admin` for event loops, with the same names. Use it in an `async with` block."""

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        timeout: float = 300.0,
    ) -> None:
        self._connection = _connection(address, token, ca, cert, key)
        self._timeout = Settings(timeout=timeout, max_retries=0).timeout
        self._channel = self._connection.open_async()
        self._stub = admin_service_pb2_grpc.AdminServiceStub(self._channel)

    async def models(self) -> ServedModels:
        """See `Admin.models`."""
        return _all(await self._ask(self._stub.ListModels, pb.AdminServiceListModelsRequest()))

    async def load(
        self, model: str | None = None, *, path: str | os.PathLike[str] | None = None
    ) -> ServedModel:
        """See `Admin.load`."""
        return _served((await self._ask(self._stub.LoadModel, _load(model, path))).model)

    async def unload(self, model: str, *, forget: bool = False) -> ServedModel:
        """See `Admin.unload`."""
        request = pb.UnloadModelRequest(model=model, forget=forget)
        return _served((await self._ask(self._stub.UnloadModel, request)).model)

    async def swap(
        self, model: str | None = None, path: str | os.PathLike[str] | None = None
    ) -> Swap:
        """See `Admin.swap`."""
        return _swap(await self._ask(self._stub.SwapModel, _swap_request(model, path)))

    async def close(self) -> None:
        """See `Admin.close`."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ask(self, call: Any, request: Message) -> Any:
        try:
            return await call(request, timeout=self._timeout, metadata=self._connection.metadata)
        except grpc.RpcError as error:
            raise from_call(error, address=self._connection.address, request_id=None) from None


def _connection(
    address: str | None,
    token: str | None,
    ca: str | os.PathLike[str] | None,
    cert: str | os.PathLike[str] | None,
    key: str | os.PathLike[str] | None,
) -> Connection:
    # Not `Connection.of`: an operator's token is no caller's, nor is the address.
    known = os.environ
    return Connection(
        address or known.get("T2I_ADMIN_ADDRESS") or DEFAULT_ADMIN_ADDRESS,
        token or known.get("T2I_ADMIN_TOKEN") or None,
        ca or known.get("T2I_CA") or None,
        cert=cert or known.get("T2I_CERT") or None,
        key=key or known.get("T2I_KEY") or None,
    )


def _load(model: str | None, path: str | os.PathLike[str] | None) -> pb.LoadModelRequest:
    return pb.LoadModelRequest(model=model or "", path=os.fspath(path) if path else "")


def _swap_request(model: str | None, path: str | os.PathLike[str] | None) -> pb.SwapModelRequest:
    return pb.SwapModelRequest(model=model or "", path=os.fspath(path) if path else "")


def _all(answer: pb.AdminServiceListModelsResponse) -> ServedModels:
    models = tuple(_served(model) for model in answer.models)
    return ServedModels(models, answer.memory_bytes, answer.memory_budget_bytes)


def _swap(answer: pb.SwapModelResponse) -> Swap:
    return Swap(_served(answer.model), _version(answer.previous), answer.changed)


def _served(message: pb.ServedModel) -> ServedModel:
    idle = message.idle.ToNanoseconds() / 1e9 if message.HasField("idle") else None
    return ServedModel(
        version=_version(message.version),
        # A newer service may know states that this client does not; requests wait in all of them.
        state=_STATES.get(message.state, "loading"),
        source=message.source,
        weight_bytes=message.weight_bytes,
        encoder_bytes=message.encoder_bytes,
        in_flight=message.in_flight,
        idle_seconds=idle,
        draining=tuple(message.draining),
        failure=message.failure,
        is_default=message.is_default,
    )


def _version(message: conditions_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(message.name, message.version, message.checksum)
