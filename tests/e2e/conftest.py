"""A real server in a process of its own, with a small real bundle that never learned anything."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from t2i.client import Client
from tests.t2i.small_bundle import save_attentive, save_conditioned, save_scored, save_staged

PATIENCE_S = 180


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_scored(tmp_path_factory.mktemp("bundles") / "untrained", "untrained")


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Models that take something else than text."""
    folder = tmp_path_factory.mktemp("others")
    names = ("codes", "digits", "plumage", "seeds")
    return [
        *(save_conditioned(folder, name) for name in names),
        save_staged(folder / "staged"),
        save_attentive(folder / "attentive"),
    ]


@pytest.fixture(scope="session")
def address(
    bundle: Path, others: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    port_file = tmp_path_factory.mktemp("server") / "port"
    command = [sys.executable, "-m", "server.cli", "--address", "127.0.0.1:0"]
    for folder in (bundle, *others):
        command += ["--model", str(folder)]
    process = subprocess.Popen([*command, "--port-file", port_file])
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not port_file.exists():
            assert process.poll() is None, "the server ended before it was ready"
            assert time.monotonic() < deadline, "the server did not bind in time"
            time.sleep(0.05)
        address = f"127.0.0.1:{port_file.read_text().strip()}"
        with Client(address, timeout=PATIENCE_S, max_retries=PATIENCE_S) as client:
            client.get_model()
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert code == 0, "a server that is told to stop ends in order"


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, timeout=PATIENCE_S) as client:
        yield client
