"""What a server needs before other machines may reach it: a certificate, its key, a token."""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc

from t2i.errors import InvalidInput

__all__ = ["TOKEN_VARIABLE", "Certificates", "read_token"]

TOKEN_VARIABLE = "T2I_TOKEN"

_log = logging.getLogger("t2i.server")
_ALIVE: list[grpc.ServerCredentials] = []


@dataclass
class Certificates:
    """The PEM files of a TLS server. Written anew, they hold from the next handshake on.

    Connections that stand keep what they were made with. Files that do not fit each other, as
    between the writing of one and of the other, change nothing.

    Args:
        cert: the certificate chain.
        key: its private key.
        client_ca: the authorities whose certificates callers must show; None asks for none.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None
    _seen: tuple[object, ...] = field(default=(), init=False)

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a server that asks for the files at each handshake.

        Raises:
            InvalidInput: a file is not PEM, or the key is not the certificate's.
        """
        self._seen = self._state()
        credentials = grpc.dynamic_ssl_server_credentials(
            self._read(), self._fetch, require_client_authentication=self.client_ca is not None
        )
        # A handshake that outlives its server still asks: gRPC does not keep what it asks alive.
        _ALIVE.append(credentials)
        return credentials

    def _read(self) -> grpc.ServerCertificateConfiguration:
        try:
            # gRPC would accept anything here and fail at every handshake.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.cert, self.key, password="")
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
            roots = None if self.client_ca is None else self.client_ca.read_bytes()
            pair = (self.key.read_bytes(), self.cert.read_bytes())
        except (ssl.SSLError, OSError) as error:
            files = " and ".join(str(f) for f in (self.cert, self.key, self.client_ca) if f)
            raise InvalidInput(
                "tls",
                str(self.cert),
                f"{files} cannot be used ({getattr(error, 'reason', None) or error})",
                "give a PEM certificate and its private key without a passphrase",
            ) from error
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    def _fetch(self) -> grpc.ServerCertificateConfiguration:
        """Return the files anew if they changed, else None; called by gRPC at each handshake.

        gRPC frees what it is given: the same configuration given twice would be freed twice. Its
        type stubs do not know of the None.
        """
        try:
            state = self._state()
            if state == self._seen:
                return cast(grpc.ServerCertificateConfiguration, None)
            configuration = self._read()
        except (OSError, InvalidInput) as error:
            _log.error("the certificate stays as it was: %s", error)
            return cast(grpc.ServerCertificateConfiguration, None)
        self._seen = state
        _log.info("certificate read anew")
        return configuration

    def _state(self) -> tuple[object, ...]:
        files = [file for file in (self.cert, self.key, self.client_ca) if file is not None]
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(Path.stat, files))


def read_token(file: Path | None) -> str | None:
    """Return the token in a file, or else in the environment variable `T2I_TOKEN`, or None.

    A token is never an argument of the command: the process list would show it to everyone.

    Raises:
        InvalidInput: the file cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "token_file", str(file), f"{file} cannot be read", "give a text file with the token"
        ) from error
    if not token:
        raise InvalidInput("token_file", str(file), f"{file} is empty", "write the token into it")
    return token
