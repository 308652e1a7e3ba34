"""What gRPC itself is told: where to listen, what a connection may cost, what reflection shows."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from server.security import Certificates
from server.settings import Settings
from t2i.errors import InvalidInput

__all__ = ["bind", "limits", "reflect"]

# A message over our own limit is refused with a reason; over this, gRPC refuses it without one.
_GRPC_LIMIT_FACTOR = 16
_METADATA_BYTES = 16 * 1024
_HANDSHAKE_MS = 10_000
_IDLE_MS = 15 * 60 * 1000
_KEEPALIVE_MS, _KEEPALIVE_ANSWER_MS = 60_000, 20_000
_PING_MS = 10_000


def bind(
    server: grpc.aio.Server, settings: Settings, field: str, address: str, *, secure: bool
) -> int:
    """Let a server listen at an address.

    Args:
        server: which one.
        settings: name certificate and key.
        field: what to call the address if it cannot be had.
        address: `host:port`; port 0 takes a free one.
        secure: whether to speak TLS, where the settings have a certificate.

    Returns:
        The port.

    Raises:
        InvalidInput: the address cannot be bound, or the TLS files cannot be used.
    """
    try:
        if secure and settings.tls_cert is not None and settings.tls_key is not None:
            credentials = Certificates(
                settings.tls_cert, settings.tls_key, settings.tls_client_ca
            ).credentials()
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise InvalidInput(
            field,
            address,
            f"{address} cannot be bound",
            "choose a free port (0 finds one) and an address of this machine",
        ) from error


def limits(settings: Settings) -> list[tuple[str, int]]:
    """Return gRPC's own options: what a connection may cost before a call is looked at."""
    options = [
        # Two servers on one port would share its calls at random.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_request_bytes * _GRPC_LIMIT_FACTOR),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * _METADATA_BYTES),
        ("grpc.max_concurrent_streams", settings.max_streams),
        # Requests are small: pings that measure how fast more could come would only cost.
        ("grpc.http2.bdp_probe", 0),
        # Whoever connects and says nothing is let go.
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        # A caller that vanished without a word is noticed, and one that pings too much let go.
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_ANSWER_MS),
        ("grpc.http2.min_ping_interval_without_data_ms", _PING_MS),
    ]
    if settings.connection_seconds:
        options += [
            ("grpc.max_connection_age_ms", int(settings.connection_seconds * 1e3)),
            ("grpc.max_connection_age_grace_ms", int(settings.drain_seconds * 1e3)),
        ]
    return options


def reflect(served: Sequence[str], server: grpc.aio.Server) -> None:
    """Let a server tell about its own services, and about no other of this process."""
    names = (*served, health.SERVICE_NAME, reflection.SERVICE_NAME)
    everything = descriptor_pool.Default()
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name not in known:
            known.add(file.name)
            for needed in file.dependencies:
                add(needed)
            message = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(message)
            pool.Add(message)

    for name in names:
        add(everything.FindServiceByName(name).file)
    reflection.enable_server_reflection(names, server, pool)
