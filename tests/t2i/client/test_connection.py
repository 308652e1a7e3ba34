from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
import trustme

from t2i.client import AsyncClient, Client, UnavailableError
from t2i.client.connection import DEFAULT_ADDRESS, Connection
from t2i.client.settings import ClientClosed
from t2i.errors import InvalidInput
from tests.t2i.client.faulty_service import Service, serving


@pytest.mark.parametrize(
    ("address", "encrypted"),
    [
        ("127.0.0.1:50051", False),
        ("127.8.9.1:1", False),
        ("localhost:50051", False),
        ("[::1]:50051", False),
        ("unix:/run/t2i.sock", False),
        ("10.0.0.7:50051", True),
        ("[2001:db8::1]:50051", True),
        ("pictures.example:443", True),
        ("localhost.pictures.example:443", True),
    ],
)
def test_only_this_machine_is_spoken_to_in_the_clear(address: str, encrypted: bool) -> None:
    assert Connection(address).encrypted is encrypted


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":50051", "host:0", "host:65536", "http://host:1", "a:b:1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Connection(address)
    assert caught.value.field == "address"


def test_what_is_given_goes_before_the_environment(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    environment = {"T2I_ADDRESS": "there:1", "T2I_TOKEN": "theirs", "T2I_CA": str(ca)}
    assert Connection.of(environment=environment) == Connection("there:1", "theirs", str(ca))
    given = Connection.of("here:2", "mine", environment=environment)
    assert (given.address, given.token) == ("here:2", "mine")
    assert Connection.of(environment={}) == Connection(DEFAULT_ADDRESS)


def test_a_token_is_never_shown() -> None:
    assert "secret" not in repr(Connection(DEFAULT_ADDRESS, "secret"))
    with pytest.raises(InvalidInput) as caught:
        Connection(DEFAULT_ADDRESS, "secret\n")
    assert "secret" not in str(caught.value) and caught.value.value is None


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"ca: there is no file .*/none.pem"):
        Connection(DEFAULT_ADDRESS, ca=tmp_path / "none.pem")


def test_a_certificate_goes_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    file.write_text("x")
    with pytest.raises(InvalidInput, match=r"key: is missing; give a certificate and its"):
        Connection(DEFAULT_ADDRESS, cert=file)
    with pytest.raises(InvalidInput, match=r"cert: is missing"):
        Connection(DEFAULT_ADDRESS, key=file)
    known = {"T2I_CERT": str(file), "T2I_KEY": str(file)}
    connection = Connection.of(environment=known)
    assert (connection.cert, connection.key) == (str(file), str(file)) and connection.encrypted


@pytest.mark.parametrize(
    ("address", "encrypted"),
    [
        ("127.0.0.1:1,127.0.0.1:2", False),
        ("127.0.0.1:1,10.0.0.7:1", True),
        ("[::1]:1,[::2]:1", True),
    ],
)
def test_several_addresses_are_spoken_to_as_the_most_distant_one(
    address: str, encrypted: bool
) -> None:
    assert Connection(address).encrypted is encrypted


@pytest.mark.parametrize("address", ["a:1,b:1", "127.0.0.1:1,b:1", "127.0.0.1:1,[::1]:1"])
def test_several_addresses_are_numbers_of_one_kind(address: str) -> None:
    with pytest.raises(InvalidInput, match="one name that stands for all of them"):
        Connection(address)


def test_calls_go_to_several_addresses_in_turn_and_past_one_that_is_gone() -> None:
    services = Service(), Service()

    def bind(server: grpc.Server) -> int:
        return server.add_insecure_port("127.0.0.1:0")

    with (
        serving(services[0], bind) as first,
        serving(services[1], bind) as second,
        Client(f"{first},{second},127.0.0.1:1", token="secret") as client,
    ):
        deadline = time.monotonic() + 10
        while not all(service.tokens for service in services):
            assert time.monotonic() < deadline
            client.get_model()
        for service in services:
            service.tokens.clear()
        for _ in range(10):
            client.get_model()
    assert [len(service.tokens) for service in services] == [5, 5]


async def test_other_options_share_the_connection_and_its_end() -> None:
    service = Service()
    with serving(service, lambda s: s.add_insecure_port("127.0.0.1:0")) as address:
        with Client(address, timeout=3) as client:
            patient = client.with_options(timeout=60, max_retries=0, priority="batch")
            assert (patient._settings.timeout, patient._settings.max_retries) == (60, 0)
            assert (client._settings.timeout, client._settings.max_retries) == (3, 2)
            assert ("t2i-priority", "batch") in patient._connection.metadata
            assert client._connection.metadata == ()
            assert patient.get_model().name == "squares"
            assert patient._channel is client._channel
            with pytest.raises(InvalidInput, match="timeout"):
                client.with_options(timeout=0)
        with pytest.raises(ClientClosed):
            patient.get_model()
        async with AsyncClient(address) as first:
            second = first.with_options(timeout=60)
            assert (await second.get_model()).name == "squares"
            assert second._line.channel is first._line.channel
        with pytest.raises(ClientClosed):
            await second.get_model()


async def test_a_certificate_lets_in_and_a_strangers_does_not(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    own = authority.issue_cert("localhost", "127.0.0.1")
    credentials = grpc.ssl_server_credentials(
        [(own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())]
    )
    trusted, other = tmp_path / "trusted.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(trusted)
    stranger.cert_pem.write_to_path(other)
    service = Service()
    bound = serving(service, lambda s: s.add_secure_port("127.0.0.1:0", credentials))
    with bound as address:
        with Client(address, ca=trusted, token="secret") as client:
            assert client.get_model().name == "squares"
        async with AsyncClient(address, ca=trusted) as asynchronous:
            assert (await asynchronous.get_model()).name == "squares"
        with Client(address, ca=other, max_retries=0) as client, pytest.raises(UnavailableError):
            client.get_model()
    assert service.tokens == ["Bearer secret", None]


def test_only_work_that_may_wait_says_so() -> None:
    assert Connection("127.0.0.1:1").metadata == ()
    job = Connection("127.0.0.1:1", token="secret", priority="batch")
    assert job.metadata == (("authorization", "Bearer secret"), ("t2i-priority", "batch"))
    with pytest.raises(InvalidInput, match="interactive or batch") as caught:
        Client("127.0.0.1:1", priority="urgent")  # type: ignore[arg-type]
    assert caught.value.field == "priority"
