"""What a server needs before other machines may reach it: a certificate, its key, a token."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import grpc

from t2i.errors import InvalidInput

__all__ = ["TOKEN_VARIABLE", "load_credentials", "read_token"]

TOKEN_VARIABLE = "T2I_TOKEN"


def load_credentials(cert: Path, key: Path) -> grpc.ServerCredentials:
    """Return the credentials of a TLS server from two PEM files.

    Raises:
        InvalidInput: a file is not PEM, or the key is not the certificate's.
    """
    try:
        # gRPC would accept anything here and fail at every handshake.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise InvalidInput(
            "tls",
            str(cert),
            f"{cert} and {key} cannot be used ({getattr(error, 'reason', None) or error})",
            "give a PEM certificate and its private key without a passphrase",
        ) from error
    return grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])


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
