"""Where the service is and how to speak to it safely."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import grpc

from t2i.errors import InvalidInput, shown

__all__ = ["DEFAULT_ADDRESS", "Connection", "Priority"]

Priority = Literal["interactive", "batch"]

DEFAULT_ADDRESS = "127.0.0.1:50051"

# A picture a message stays far below this; an answer of GenerateImages may hold sixteen.
_MAX_ANSWER_BYTES = 64 * 1024 * 1024

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # Calls go to all addresses that a name stands for in turn, not to the first that answers.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
    # gRPC waits a second before it dials again; our first retry comes sooner than that.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """An address with what is needed to be let in.

    The connection is encrypted when a certificate is given or the address is not this machine.
    A token therefore never crosses a network in the clear.

    Args:
        address: `host:port`, or `unix:/path` for a socket file. Several `ip:port` with commas
            between, or a name that stands for several machines, share the calls between them.
        token: sent as `authorization: Bearer TOKEN`; None sends nothing.
        ca: PEM file of the authority that signed the server's certificate; None means the
            machine's own authorities.
        priority: which requests of this service go first; sent as `t2i-priority` unless it is
            `"interactive"`.
        cert: PEM file with the caller's own certificate, for a server that asks for one.
        key: PEM file with its private key; given exactly when `cert` is.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    ca: str | os.PathLike[str] | None = None
    priority: Priority = "interactive"
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for each in self._addresses:
            if not _host(each):
                raise InvalidInput(
                    "address",
                    self.address,
                    f"{each!r} is not an address",
                    "give host:port, such as 127.0.0.1:50051",
                )
        versions = {_version(each) for each in self._addresses}
        if len(self._addresses) > 1 and (len(versions) > 1 or 0 in versions):
            raise InvalidInput(
                "address",
                self.address,
                "several addresses must be numbers of one kind",
                "give ip:port,ip:port, or one name that stands for all of them",
            )
        if self.token is not None and not (
            self.token and self.token.isascii() and self.token.isprintable()
        ):
            # The value is left out: a token does not belong in a log.
            raise InvalidInput(
                "token", None, "is empty or holds unusual characters", "give printable ASCII"
            )
        if self.priority not in get_args(Priority):
            raise InvalidInput(
                "priority",
                self.priority,
                f"{shown(self.priority)} is unknown",
                f"give {' or '.join(get_args(Priority))}",
            )
        for name, file in (("ca", self.ca), ("cert", self.cert), ("key", self.key)):
            if file is not None and not Path(file).is_file():
                raise InvalidInput(name, file, f"there is no file {file}", "give a PEM file")
        if (self.cert is None) != (self.key is None):
            missing = "key" if self.key is None else "cert"
            raise InvalidInput(
                missing, None, "is missing", "give a certificate and its private key, or neither"
            )

    @classmethod
    def of(
        cls,
        address: str | None = None,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        priority: Priority = "interactive",
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Connection:
        """Return a connection of what was given, else of T2I_ADDRESS, T2I_TOKEN and T2I_CA.

        Also of T2I_CERT and T2I_KEY.
        """
        return cls(
            address or environment.get("T2I_ADDRESS") or DEFAULT_ADDRESS,
            token or environment.get("T2I_TOKEN") or None,
            ca or environment.get("T2I_CA") or None,
            priority,
            cert or environment.get("T2I_CERT") or None,
            key or environment.get("T2I_KEY") or None,
        )

    @property
    def encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        secured = self.ca is not None or self.cert is not None
        return secured or not all(map(_is_this_machine, self._addresses))

    @property
    def _addresses(self) -> list[str]:
        return self.address.split(",")

    @property
    def _target(self) -> str:
        if len(self._addresses) == 1:
            return self.address
        return f"ipv{_version(self._addresses[0])}:{self.address}"

    @property
    def _options(self) -> tuple[tuple[str, int | str], ...]:
        if len(self._addresses) == 1:
            return OPTIONS
        # A list of addresses is no name that a certificate could have: the first stands for it.
        return (*OPTIONS, ("grpc.default_authority", self._addresses[0]))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        token = () if self.token is None else (("authorization", f"Bearer {self.token}"),)
        if self.priority == "interactive":
            return token
        return (*token, ("t2i-priority", self.priority))

    def open(self) -> grpc.Channel:
        """Return a channel; it connects at its first call."""
        if not self.encrypted:
            return grpc.insecure_channel(self._target, options=self._options)
        return grpc.secure_channel(self._target, self._credentials(), options=self._options)

    def open_async(self) -> grpc.aio.Channel:
        """Return a channel of the running event loop; it connects at its first call."""
        if not self.encrypted:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        return grpc.aio.secure_channel(self._target, self._credentials(), options=self._options)

    def _credentials(self) -> grpc.ChannelCredentials:
        authority, key, chain = (
            None if file is None else Path(file).read_bytes()
            for file in (self.ca, self.key, self.cert)
        )
        return grpc.ssl_channel_credentials(
            root_certificates=authority, private_key=key, certificate_chain=chain
        )


def _host(address: str) -> str:
    """Return the host of an address, or the empty string when it is none."""
    if address.startswith("unix:"):
        return address if len(address) > len("unix:") else ""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        return ""
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1]
    return "" if ":" in host or "/" in host else host


def _version(address: str) -> int:
    """Return 4 or 6 for an address of numbers, and 0 for a name or a socket file."""
    try:
        return ipaddress.ip_address(_host(address)).version
    except ValueError:
        return 0


def _is_this_machine(address: str) -> bool:
    host = _host(address)
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
