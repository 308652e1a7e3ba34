from __future__ import annotations

from pathlib import Path

import grpc
import pytest
import trustme

from t2i.client import AsyncClient, Client, UnavailableError
from t2i.client.connection import DEFAULT_ADDRESS, Connection
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
