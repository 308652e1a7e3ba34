"""A real server in a process of its own, with a small real bundle that never learned anything."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from t2i.bundle import Bundle
from t2i.client import Client
from t2i.encoders import load_text_encoder
from t2i.networks import StageGenerator

RESOLUTIONS = (8, 16, 32)
PATIENCE_S = 180


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    encoder = load_text_encoder()
    network = StageGenerator(
        condition_dim=encoder.dim,
        resolutions=RESOLUTIONS,
        noise_dim=16,
        conditioning_dim=16,
        width=8,
        max_channels=16,
    )
    folder = tmp_path_factory.mktemp("bundles") / "untrained"
    config = {
        "format": 1,
        "name": "untrained",
        "version": "1",
        "network": {"class": "StageGenerator", "arguments": network.config},
        "conditions": ["text"],
        "encoder": {"id": encoder.id, "dim": encoder.dim},
        "resolutions": list(RESOLUTIONS),
        "value_range": [-1, 1],
        "labels": [],
        "training": {},
    }
    Bundle.save(folder, config=config, generator_state=network.state_dict(), card="# Untrained\n")
    return folder


@pytest.fixture(scope="session")
def address(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port_file = tmp_path_factory.mktemp("server") / "port"
    command = [sys.executable, "-m", "server.cli", "--address", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--port-file", port_file, "--model", bundle])
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
