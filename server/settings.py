"""What a server is told when it starts, checked once."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from server.jobs.settings import JobSettings
from server.tokens import check_token
from t2i.errors import InvalidInput
from t2i.ray_cluster import check_ray_address

__all__ = [
    "BACKENDS",
    "MAX_IMAGES",
    "MAX_RESPONSE_BYTES",
    "WATCH_SECONDS",
    "BackendName",
    "Settings",
]

MAX_IMAGES = 16
# gRPC clients refuse larger messages unless they are told otherwise.
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
# From one look for other versions to the next, where nobody says otherwise.
WATCH_SECONDS = 5.0
BackendName = Literal["thread", "process", "ray"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve.

    Args:
        models: names or folders of bundles; the first is the default model.
        host: address to listen on. Other than loopback it needs `tls_cert`, `tls_key` and `token`.
        port: TCP port, 0 to 65535; 0 takes a free one.
        port_file: file to write the chosen port to, for scripts that asked for port 0.
        report_file: file to write what the server did to when it ends, as JSON.
        device: torch device, such as "cpu" or "cuda:0"; None lets the pipeline choose.
        backend: where pictures are drawn: "thread", in this process; "process", in workers of their
            own; "ray", in workers of a Ray cluster.
        ray_address: `HOST:PORT` of the cluster, which this machine must be part of, or "auto"; None
            starts one on this machine that ends with the server.
        workers: batches that are drawn at the same time; None lets the backend choose.
        max_batch: pictures in one batch, 1 or more; None lets the backend choose.
        queue_limit: pictures that may wait before requests are refused, `MAX_IMAGES` or more.
        queue_bytes: what requests and their pictures may hold of memory until they are sent.
        replay_bytes: what answers kept for requests that come again may hold; 0 keeps none.
        replay_seconds: how long they and their request ids are kept.
        max_request_bytes: size of a request message.
        drain_seconds: how long a stopping server lets running requests finish.
        tls_cert: PEM file with the certificate chain.
        tls_key: PEM file with its private key.
        tls_client_ca: PEM file with the authorities whose certificates callers must show.
        token: secret that every call must carry as `authorization: Bearer TOKEN`.
        tokens_file: TOML file with several such secrets, by name; see `server.tokens.Tokens`.
        metrics: host and port of `GET /metrics` for Prometheus, in the clear and without a token;
            None serves none. Only numbers are there, but keep it inside.
        max_streams: calls at the same time on one connection.
        connection_seconds: age at which a connection is to be made anew, so that load spreads and
            new certificates take hold; 0 for any.
        jobs: how to run batch jobs; None runs none.
        lazy: load each model at its first request, not at the start.
        memory_budget: bytes that the weights of loaded models may take, in all workers together;
            what was used least recently makes room. None for any.
        models_copy: folder for the server's own copies of the bundles that it has loaded; None
            reads them where they are, once.
        watch_models: seconds from one look for other versions of the models to the next; None for
            no looks but those that are asked for.
        models_root: folder below which an operator may name further bundles; None for nowhere.
        admin: host and port of the service for operators, in the clear on loopback and with the
            server's certificate elsewhere; None serves none.
        admin_token: secret that its calls must carry, and no other's.

    Raises:
        InvalidInput: a value is out of range, or a public address lacks TLS or token.
    """

    models: tuple[str, ...] = ("default",)
    host: str = "127.0.0.1"
    port: int = 50051
    port_file: Path | None = None
    report_file: Path | None = None
    device: str | None = None
    backend: BackendName = "thread"
    ray_address: str | None = None
    workers: int | None = None
    max_batch: int | None = None
    queue_limit: int = 256
    queue_bytes: int = 256 * _MIB
    replay_bytes: int = 64 * _MIB
    replay_seconds: float = 600.0
    max_request_bytes: int = 64 * 1024
    drain_seconds: float = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token: str | None = field(default=None, repr=False)
    tokens_file: Path | None = None
    metrics: tuple[str, int] | None = None
    max_streams: int = 256
    connection_seconds: float = 0.0
    jobs: JobSettings | None = None
    lazy: bool = False
    memory_budget: int | None = None
    models_copy: Path | None = None
    watch_models: float | None = None
    models_root: Path | None = None
    admin: tuple[str, int] | None = None
    admin_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.models:
            raise InvalidInput("models", self.models, "is empty", "name at least one bundle")
        _check_range("port", self.port, 0, 65535)
        if self.backend not in BACKENDS:
            raise InvalidInput(
                "backend", self.backend, "is unknown", f"give one of {', '.join(BACKENDS)}"
            )
        if self.ray_address is not None:
            if self.backend != "ray":
                raise InvalidInput(
                    "ray-address",
                    self.ray_address,
                    f"is given with the backend {self.backend}",
                    "give --backend ray as well",
                )
            check_ray_address(self.ray_address)
        if self.workers is not None:
            _check_range("workers", self.workers, 1, 64)
        if self.max_batch is not None:
            _check_range("max_batch", self.max_batch, 1, 1024)
        _check_range("queue_limit", self.queue_limit, MAX_IMAGES, 1_000_000)
        _check_range("queue_bytes", self.queue_bytes, 16 * _MIB, 2**40)
        _check_range("replay_bytes", self.replay_bytes, 0, 2**40)
        _check_range("replay_seconds", self.replay_seconds, 0, 86400)
        _check_range("max_request_bytes", self.max_request_bytes, 1024, MAX_RESPONSE_BYTES)
        _check_range("drain_seconds", self.drain_seconds, 0, 3600)
        if self.metrics is not None:
            _check_range("metrics port", self.metrics[1], 0, 65535)
        _check_range("max_streams", self.max_streams, 1, 100_000)
        _check_range("connection_seconds", self.connection_seconds, 0, 30 * 86400)
        if (self.tls_cert is None) != (self.tls_key is None):
            given = "a certificate" if self.tls_key is None else "a key"
            raise InvalidInput(
                "tls", given, f"only {given} is given", "give a certificate and its private key"
            )
        for file in (self.tls_cert, self.tls_key, self.tls_client_ca):
            if file is not None and not file.is_file():
                raise InvalidInput("tls", file, f"{file} is not a file", "give a PEM file")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InvalidInput(
                "tls_client_ca", self.tls_client_ca, "is given without a certificate", "give both"
            )
        if self.token is not None:
            check_token(self.token)
        if self.token is not None and self.tokens_file is not None:
            raise InvalidInput(
                "tokens", self.tokens_file, "are given beside one token", "give one of the two"
            )
        self._check_admin()
        if self.memory_budget is not None:
            _check_range("memory_budget", self.memory_budget, 1, 2**50)
        if self.watch_models is not None:
            _check_range("watch_models", self.watch_models, 0.1, 86400)
        if self.models_root is not None and not self.models_root.is_dir():
            raise InvalidInput(
                "models_root", self.models_root, "is not a folder", "name a folder of bundles"
            )
        if not self.is_loopback and (self.tls_cert is None or not self.has_tokens):
            raise InvalidInput(
                "host",
                self.host,
                f"{self.host} can be reached from other machines",
                "give a TLS certificate, its key and a token, or listen on 127.0.0.1",
            )

    def _check_admin(self) -> None:
        if self.admin is None:
            for name in ("admin_token", "models_root"):
                if getattr(self, name) is not None:
                    raise InvalidInput(
                        name, "(hidden)", "is for operators", "give --admin HOST:PORT as well"
                    )
            return
        host, port = self.admin
        _check_range("admin port", port, 0, 65535)
        if self.admin_token is not None:
            check_token(self.admin_token)
            if self.admin_token == self.token:
                raise InvalidInput(
                    "admin_token", "(hidden)", "is the callers' token", "give operators their own"
                )
        if not _is_loopback(host) and (self.tls_cert is None or self.admin_token is None):
            raise InvalidInput(
                "admin",
                host,
                f"{host} can be reached from other machines",
                "give a TLS certificate, its key and --admin-token-file, or listen on 127.0.0.1",
            )

    @property
    def has_tokens(self) -> bool:
        """Whether calls must carry a token."""
        return self.token is not None or self.tokens_file is not None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return _is_loopback(self.host)

    @property
    def address(self) -> str:
        """`host:port` as gRPC takes it, IPv6 addresses in brackets."""
        return _address(self.host, self.port)

    @property
    def admin_address(self) -> str | None:
        """The same for operators; None where there is no service for them."""
        return None if self.admin is None else _address(*self.admin)

    @property
    def admin_is_loopback(self) -> bool:
        """Whether operators can reach it from this machine only."""
        return self.admin is None or _is_loopback(self.admin[0])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _address(host: str, port: int) -> str:
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def _check_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidInput(field, value, f"{value} is out of range", f"give {low} to {high}")
