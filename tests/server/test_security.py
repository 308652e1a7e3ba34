"""What strangers meet: certificates of both sides, their change, tokens with limits, sizes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
import pytest
import trustme

from server.app import Server
from server.settings import Settings
from t2i.client import AsyncClient
from t2i.client.errors import (
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from t2i.errors import InvalidInput
from t2i.protocol.v1.model_service_pb2 import ListModelsRequest
from t2i.protocol.v1.model_service_pb2_grpc import ModelServiceStub

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"


class Files:
    """PEM files of an authority and of certificates that it issues."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.authority = trustme.CA()
        self.ca, self.cert, self.key = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))
        self.authority.cert_pem.write_to_path(self.ca)
        self.issue()

    def issue(self) -> None:
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)


async def started(settings: Settings) -> Server:
    server = Server(settings)
    await server.start()
    await server.load()
    return server


async def test_a_caller_without_a_certificate_of_the_authority_is_not_let_in(
    bundle: Path, tmp_path: Path
) -> None:
    ours, callers, strangers = (Files(tmp_path / name) for name in ("ours", "callers", "strangers"))
    server = await started(
        Settings(
            models=(str(bundle),),
            port=0,
            tls_cert=ours.cert,
            tls_key=ours.key,
            tls_client_ca=callers.ca,
        )
    )
    async with AsyncClient(server.address, ca=ours.ca, cert=callers.cert, key=callers.key) as known:
        assert (await known.get_model()).name
    for files in (None, strangers):
        cert, key = (None, None) if files is None else (files.cert, files.key)
        async with AsyncClient(
            server.address, ca=ours.ca, cert=cert, key=key, max_retries=0, timeout=5
        ) as unknown:
            with pytest.raises(UnavailableError):
                await unknown.get_model()
    await server.stop(0)


async def test_a_certificate_changes_under_load_without_a_failed_request(
    bundle: Path, tmp_path: Path
) -> None:
    first, second = Files(tmp_path / "first"), Files(tmp_path / "second")
    served = Files(tmp_path / "served")
    both = tmp_path / "both.pem"
    both.write_bytes(first.ca.read_bytes() + second.ca.read_bytes())
    for old, new in ((first.cert, served.cert), (first.key, served.key)):
        new.write_bytes(old.read_bytes())
    server = await started(
        Settings(models=(str(bundle),), port=0, tls_cert=served.cert, tls_key=served.key)
    )
    done, changed = 0, False

    async def load() -> None:
        nonlocal done
        while not changed or done < 40:
            # A new connection each time: a handshake.
            async with AsyncClient(server.address, ca=both, max_retries=0) as client:
                await client.generate_images("a bird", seeds=[1])
            done += 1

    tasks = [asyncio.create_task(load()) for _ in range(3)]
    while done < 10:
        await asyncio.sleep(0.01)
    # One after the other, so that for a moment they do not fit.
    for old, new in ((second.cert, served.cert), (second.key, served.key)):
        beside = new.with_suffix(".new")
        beside.write_bytes(old.read_bytes())
        beside.replace(new)
        await asyncio.sleep(0.05)
    changed = True
    await asyncio.gather(*tasks)
    # What is shown now is the second authority's.
    async with AsyncClient(server.address, ca=second.ca, max_retries=0) as client:
        assert (await client.get_model()).name
    async with AsyncClient(server.address, ca=first.ca, max_retries=0, timeout=5) as client:
        with pytest.raises(UnavailableError):
            await client.get_model()
    await server.stop(0)


async def test_each_name_has_its_own_token_and_its_own_limits(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(
        f'[alice]\ntoken = "{ALICE}"\npictures_per_day = 3\n[bob]\ntoken = "{BOB}"\n'
        "pictures_per_second = 0.2\n"
    )
    server = await started(Settings(models=(str(bundle),), port=0, tokens_file=file))
    address = server.address
    async with AsyncClient(address, token=ALICE, max_retries=0) as alice:
        await alice.generate_images("a bird", seeds=[1, 2])
        with pytest.raises(ResourceExhaustedError, match="fewer pictures per day") as over:
            await alice.generate_images("a bird", seeds=[1, 2])
        assert over.value.reason == "QUOTA_EXCEEDED" and over.value.retry_after is not None
        await alice.generate_images("a bird", seeds=[3])
    async with AsyncClient(address, token=BOB, max_retries=0) as bob:
        with pytest.raises(ResourceExhaustedError, match="ask for fewer") as never:
            await bob.generate_images("a bird", seeds=[1, 2, 3, 4, 5, 6])
        assert never.value.retry_after is None
        await bob.generate_images("a bird", seeds=[1])
    async with AsyncClient(address, token="mallory-0123456789", max_retries=0) as mallory:
        with pytest.raises(UnauthenticatedError) as unknown:
            await mallory.generate_images("a bird", seeds=[1])
        assert "alice" not in str(unknown.value)
    await server.stop(0)


async def test_metadata_over_its_limit_ends_the_call_and_not_the_server(
    bundle: Path,
) -> None:
    server = await started(Settings(models=(str(bundle),), port=0))
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = ModelServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListModels(ListModelsRequest(), metadata=(("x-much", "x" * 100_000),))
        assert refused.value.code() in (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.UNAVAILABLE,
        )
        assert len((await stub.ListModels(ListModelsRequest())).models) == 1
    await server.stop(0)


def test_authorities_without_a_certificate_of_ones_own_are_refused(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with pytest.raises(InvalidInput, match="given without a certificate"):
        Settings(port=0, tls_client_ca=files.ca)
    with pytest.raises(InvalidInput, match="beside one token"):
        Settings(port=0, token=ALICE, tokens_file=files.ca)


async def test_callers_who_connect_and_say_nothing_are_let_go_and_hold_up_nobody(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.listening._HANDSHAKE_MS", 1000)
    ours = Files(tmp_path)
    server = await started(
        Settings(models=(str(bundle),), port=0, tls_cert=ours.cert, tls_key=ours.key)
    )
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(200)]
    for number, (_, writer) in enumerate(silent):
        # Some say nothing, some begin a handshake and never go on.
        if number % 2:
            writer.write(b"\x16\x03\x01")
            await writer.drain()
    async with AsyncClient(server.address, ca=ours.ca, max_retries=0) as client:
        await client.generate_images("a bird", seeds=[1])

    async def let_go(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""

    async with asyncio.timeout(10):
        await asyncio.gather(*(let_go(reader) for reader, _ in silent))
    for _, writer in silent:
        writer.close()
    await server.stop(0)
