"""The service for operators: on its own address, with its own token, and nowhere else."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server.admin import _done
from server.refusals import Refusal
from server.settings import Settings
from t2i.client import (
    AsyncAdmin,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnauthenticatedError,
)
from t2i.errors import InvalidInput
from t2i.protocol.v1 import admin_service_pb2 as pb
from t2i.protocol.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.server.digits import save_digits
from tests.server.test_model_store import draw, loaded, serving

TOKEN, CALLERS = "an-operators-own-token", "a-token-of-all-callers"
LOOPBACK: dict[str, Any] = {"admin": ("127.0.0.1", 0)}


async def reflected(
    channel: grpc.aio.Channel, **asked: str
) -> reflection_pb2.ServerReflectionResponse:
    request = reflection_pb2.ServerReflectionRequest(**asked)  # type: ignore[arg-type]
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    (answer,) = [answer async for answer in call]
    return answer


async def services(channel: grpc.aio.Channel) -> set[str]:
    answer = await reflected(channel, list_services="")
    return {service.name for service in answer.list_services_response.service}


async def test_without_the_option_there_is_no_such_service_and_with_it_only_on_its_own_address(
    tmp_path: Path,
) -> None:
    save_digits(tmp_path / "digits")
    for options in ({}, LOOPBACK):
        async with serving(tmp_path / "digits", **options) as (server, channel):
            assert (server.admin_address is None) == (not options)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await AdminServiceStub(channel).ListModels(pb.AdminServiceListModelsRequest())
            assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
            # Reflection neither lists it there nor describes it to whoever knows its name.
            assert not any("Admin" in name for name in await services(channel))
            for hidden in ("t2i.v1.AdminService", "t2i.v1.SwapModelRequest"):
                told = await reflected(channel, file_containing_symbol=hidden)
                assert told.HasField("error_response")
            found = await reflected(channel, file_containing_symbol="t2i.v1.ImageService")
            (file, *_) = found.file_descriptor_response.file_descriptor_proto
            assert FileDescriptorProto.FromString(file).name == "t2i/v1/image_service.proto"
            if not options:
                continue
            assert server.admin_address not in (None, server.address)
            async with grpc.aio.insecure_channel(str(server.admin_address)) as admin:
                assert "t2i.v1.AdminService" in await services(admin)
                assert "t2i.v1.ImageService" not in await services(admin)
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await draw(admin)
                assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_needs_the_operators_token_and_a_callers_is_none(tmp_path: Path) -> None:
    save_digits(tmp_path / "digits")
    async with serving(tmp_path / "digits", admin_token=TOKEN, token=CALLERS, **LOOPBACK) as (
        server,
        channel,
    ):
        for token in (None, CALLERS, TOKEN[:-1], TOKEN + "x"):
            async with AsyncAdmin(server.admin_address, token=token) as stranger:
                for call in (stranger.models(), stranger.unload("digits"), stranger.swap()):
                    with pytest.raises(UnauthenticatedError):
                        await call
        assert loaded(server) == {"digits"}
        async with AsyncAdmin(server.admin_address, token=TOKEN) as operator:
            assert (await operator.models()).models[0].version.name == "digits"
        # The operators' token is none of the callers' either.
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await draw(channel, metadata=(("authorization", f"Bearer {TOKEN}"),))
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_bytes_that_are_no_message_are_refused_without_a_name_of_ours(tmp_path: Path) -> None:
    save_digits(tmp_path / "digits")
    async with (
        serving(tmp_path / "digits", **LOOPBACK) as (server, _),
        grpc.aio.insecure_channel(str(server.admin_address)) as channel,
    ):
        for method in ("ListModels", "LoadModel", "UnloadModel", "SwapModel"):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary(f"/t2i.v1.AdminService/{method}")(b"\xff\xff")
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "pb2" not in str(error.value.details())


async def test_operators_see_load_add_unload_and_forget_models(tmp_path: Path) -> None:
    size = save_digits(tmp_path / "one", "one").weight_bytes
    checksum = save_digits(tmp_path / "two", "two").checksum
    async with (
        serving(
            tmp_path / "one", lazy=True, memory_budget=4 * size, models_root=tmp_path, **LOOPBACK
        ) as (server, channel),
        AsyncAdmin(server.admin_address) as admin,
    ):
        before = await admin.models()
        (one,) = before.models
        assert (one.state, one.in_flight, one.idle_seconds) == ("unloaded", 0, None)
        assert (one.weight_bytes, one.encoder_bytes, one.is_default) == (size, 0, True)
        assert (before.memory_bytes, before.memory_budget_bytes) == (0, 4 * size)
        assert (await admin.load("one")).state == "loaded"
        two = await admin.load(path="two")
        assert (two.version.name, two.version.checksum, two.state) == ("two", checksum, "loaded")
        assert (await draw(channel, "two")).model.checksum == checksum
        now = await admin.models()
        assert [model.version.name for model in now.models] == ["one", "two"]
        assert now.memory_bytes == 2 * size
        idle = now.models[1].idle_seconds
        assert idle is not None and 0 <= idle < 20
        with pytest.raises(FailedPreconditionError, match="there is a model two already"):
            await admin.load(path="two")
        assert (await admin.unload("two")).state == "unloaded"
        assert loaded(server) == {"one"}
        with pytest.raises(FailedPreconditionError, match="one is the default model"):
            await admin.unload("one", forget=True)
        await admin.unload("two", forget=True)
        with pytest.raises(NotFoundError, match="two"):
            await admin.load("two")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await draw(channel, "two")
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(InvalidArgumentError, match="either a model or a path"):
            await admin.load()


async def test_folders_outside_the_root_are_refused_however_they_are_named(tmp_path: Path) -> None:
    root = tmp_path / "models"
    save_digits(root / "v1")
    save_digits(tmp_path / "secret", version=2)
    (root / "link").symlink_to(tmp_path / "secret")
    paths = ("..", ".", "../secret", str(tmp_path / "secret"), "link", "v1/../../secret", "a\0b")
    async with (
        serving(root / "v1", models_root=root, **LOOPBACK) as (server, _),
        AsyncAdmin(server.admin_address) as admin,
    ):
        for path in paths:
            for call in (admin.swap("digits", path), admin.load(path=path)):
                with pytest.raises(InvalidArgumentError, match="is not below"):
                    await call
    async with (
        serving(root / "v1", **LOOPBACK) as (server, _),
        AsyncAdmin(server.admin_address) as admin,
    ):
        with pytest.raises(InvalidArgumentError, match="--models-root"):
            await admin.swap("digits", "v1")
        assert not (await admin.swap("digits")).changed


async def test_elsewhere_than_on_loopback_it_needs_a_certificate_and_its_own_token(
    tmp_path: Path,
) -> None:
    save_digits(tmp_path / "digits")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    cert, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    everywhere: dict[str, Any] = {"admin": ("0.0.0.0", 0)}
    tls: dict[str, Any] = {"tls_cert": cert, "tls_key": key}
    for options in ({}, tls, {"admin_token": TOKEN}, {**tls, "token": CALLERS}):
        with pytest.raises(InvalidInput, match="can be reached from other machines"):
            Settings(models=("x",), **everywhere, **options)
    with pytest.raises(InvalidInput, match="give operators their own"):
        Settings(models=("x",), **LOOPBACK, token=TOKEN, admin_token=TOKEN)
    with pytest.raises(InvalidInput, match="give --admin"):
        Settings(models=("x",), admin_token=TOKEN)
    async with serving(
        tmp_path / "digits", admin_token=TOKEN, token=CALLERS, **everywhere, **tls
    ) as (server, _):
        address = f"127.0.0.1:{server.admin_port}"
        async with AsyncAdmin(address, token=TOKEN, ca=ca) as admin:
            assert (await admin.models()).models[0].state == "loaded"
        async with grpc.aio.insecure_channel(address) as plain:
            with pytest.raises(grpc.aio.AioRpcError):
                await services(plain)


async def test_operators_are_told_what_stands_against_a_change_whatever_it_is() -> None:
    async def fill_the_disk() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/models/copy")

    with pytest.raises(Refusal, match="No space left on device: '/models/copy'") as refused:
        await _done(fill_the_disk())
    assert refused.value.reason == "CHANGE_REFUSED"
