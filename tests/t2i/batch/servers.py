"""Real servers of far storage, each in a process of its own on the loopback address.

    python -m tests.t2i.batch.servers s3
    python -m tests.t2i.batch.servers sftp FOLDER [PORT]

A server prints its port when it listens, and ends when its standard input does: with whoever
started it, however that one ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

USER, PASSWORD = "bird", "seed"
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": USER,
    "AWS_SECRET_ACCESS_KEY": PASSWORD,
    "AWS_DEFAULT_REGION": "us-east-1",
    # Nobody is asked for credentials on any network.
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Below it an upload in parts takes its time, and there is nobody who creates for one caller alone.
SLOW, OLD = "slow", "old"
_PART_SECONDS = 0.3
_ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def served(kind: str, *arguments: object) -> Iterator[int]:
    """Give the port of a server, which ends with the block."""
    # It never asks another address for anything.
    command = [sys.executable, "-m", "tests.t2i.batch.servers", kind, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


@contextmanager
def s3_served(bucket: str) -> Iterator[Any]:
    """Give fsspec's file system of a server of S3 with a bucket, for this process and its own."""
    import fsspec

    with served("s3") as port:
        place = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        with patch.dict(os.environ, {**S3_ENVIRONMENT, **place}):
            kind = fsspec.get_filesystem_class("s3")
            # What other tests may have asked for was another server.
            kind.clear_instance_cache()
            system = kind()
            system.mkdir(bucket)
            yield system
            kind.clear_instance_cache()


_Respond = Callable[..., Any]


class _Particular:
    """A store with a few habits of others, told by the names of the objects."""

    def __init__(self, app: Callable[[dict[str, Any], _Respond], Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], respond: _Respond) -> Iterable[bytes]:
        folders = environ["PATH_INFO"].split("/")
        if SLOW in folders and "partNumber=" in environ.get("QUERY_STRING", ""):
            time.sleep(_PART_SECONDS)
        if OLD in folders and "HTTP_IF_NONE_MATCH" in environ:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            respond("501 Not Implemented", [("Content-Type", "application/xml")])
            return [
                b"<Error><Code>NotImplemented</Code>"
                b"<Message>A header implies functionality that is not there</Message></Error>"
            ]
        return self._app(environ, respond)


def _serve_s3() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = _Particular(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


async def _serve_sftp(folder: str, port: str = "0") -> None:
    import asyncssh

    class Users(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

    server = await asyncssh.listen(
        "127.0.0.1",
        int(port),
        server_factory=Users,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(folder)),
    )
    print(server.get_port(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[1] == "s3":
        _serve_s3()
    else:
        asyncio.run(_serve_sftp(*sys.argv[2:]))
    # Whoever is still connected is not waited for.
    os._exit(0)
