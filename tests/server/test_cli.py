"""The command, as a process of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from grpc_health.v1 import health_pb2, health_pb2_grpc

from t2i.cli import main as t2i_command
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1.image_service_pb2 import GenerateImagesRequest, GenerateRequest
from t2i.protocol.v1.image_service_pb2_grpc import ImageServiceStub
from tests.server.digits import save_digits

COMMAND = [sys.executable, "-m", "server.cli"]
ROOT = Path(__file__).resolve().parents[2]
BIRD = pb.Condition(text=pb.TextCondition(text="a bird"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60
    )


def port_told(started: subprocess.Popen[Any], port_file: Path) -> int:
    """Wait until a command has chosen its port."""
    limit = time.monotonic() + 60
    while not port_file.exists():
        assert started.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    return int(port_file.read_text())


@pytest.fixture
def process(bundle: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running command and the port that it chose."""
    port_file = tmp_path / "port"
    arguments = ["--address", "127.0.0.1:0", "--model", str(bundle), "--port-file", str(port_file)]
    started = subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
    )
    port = port_told(started, port_file)
    yield started, port
    if started.poll() is None:
        started.kill()
    started.communicate()


def wait_until_serving(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for answer in stub.Watch(health_pb2.HealthCheckRequest(), timeout=200):
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_finish_and_exits_with_zero(
    process: tuple[subprocess.Popen[str], int], number: signal.Signals
) -> None:
    started, port = process
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        wait_until_serving(channel)
        calls = [
            ImageServiceStub(channel).Generate(GenerateRequest(condition=BIRD, count=16))
            for _ in range(8)
        ]
        for call in calls:
            assert next(call).HasField("accepted")
        started.send_signal(number)
        for call in calls:
            assert [event.WhichOneof("event") for event in call][-1] == "finished"
    _, log = started.communicate(timeout=60)
    assert started.returncode == 0, log
    assert "ready on 127.0.0.1:" in log
    assert log.splitlines()[-1].endswith("stopped")


def test_a_signal_while_loading_ends_it_with_zero(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    started, _ = process
    started.send_signal(signal.SIGTERM)
    _, log = started.communicate(timeout=60)
    assert started.returncode == 0, log
    assert log.splitlines()[-1].endswith("stopped")
    assert "ready" not in log and "Traceback" not in log


# A server that takes its time between binding its port and what comes next.
DAWDLING = """
import time
from server.app import Server
from server.cli import main

start = Server.start

async def dawdle(self):
    await start(self)
    time.sleep(1)

Server.start = dawdle
main()
"""


@pytest.mark.parametrize("command", [COMMAND, [sys.executable, "-c", DAWDLING]])
def test_a_closed_terminal_ends_it(bundle: Path, tmp_path: Path, command: list[str]) -> None:
    ours, theirs = pty.openpty()
    port_file = tmp_path / "port"
    arguments = ["--address", "127.0.0.1:0", "--model", str(bundle), "--port-file", str(port_file)]

    def own_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    started = subprocess.Popen(
        [*command, *arguments],
        stdin=theirs,
        stderr=theirs,
        cwd=ROOT,
        preexec_fn=own_the_terminal,
    )
    os.close(theirs)
    port_told(started, port_file)
    os.close(ours)
    try:
        assert started.wait(20) == 0
    finally:
        started.kill()


def test_a_bundle_that_is_not_there_ends_it_with_one_line(tmp_path: Path) -> None:
    done = run("--address", "127.0.0.1:0", "--model", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--address", "0.0.0.0:0"], "can be reached from other machines"),
        (["--address", "50051"], "is not HOST:PORT"),
        (["--address", "127.0.0.1:99999"], "port: 99999 is out of range"),
        (["--queue", "1"], "queue_limit: 1 is out of range"),
        (["--watch-models", "--queue", "1"], "queue_limit: 1 is out of range"),
        (["--watch-models", "0.01"], "watch_models: 0.01 is out of range"),
        (["--tls-cert", "pyproject.toml"], "only a certificate is given"),
        (["--token-file", "no-such-file"], "no-such-file cannot be read"),
    ],
)
def test_wrong_options_are_refused_at_once_in_one_line(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_operators_swap_models_with_the_command_and_with_a_signal(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("an-operators-own-token\n")
    save_digits(tmp_path / "models" / "now", "digits", version=1)
    save_digits(tmp_path / "models" / "next", "digits", version=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    port_file = tmp_path / "port"
    arguments = ["--address", "127.0.0.1:0", "--port-file", port_file, "--lazy"]
    arguments += ["--model", tmp_path / "models" / "now", "--memory-budget", "10"]
    arguments += ["--admin", address, "--admin-token-file", token]
    arguments += ["--models-root", tmp_path / "models", "--models-copy", tmp_path / "copies"]

    def admin(*words: str) -> Result:
        return CliRunner().invoke(t2i_command, ["admin", *words, "--server", address])

    started = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, cwd=ROOT)
    try:
        limit = time.monotonic() + 60
        port = port_told(started, port_file)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            wait_until_serving(channel)

            def version() -> str:
                one = GenerateImagesRequest(condition=pb.Condition(label=pb.LabelCondition(id=1)))
                return str(ImageServiceStub(channel).GenerateImages(one).model.version)

            assert admin("models").exit_code == 1
            told = admin("models", "--token-file", str(token))
            assert told.exit_code == 0 and "digits  version 1" in told.stdout
            assert "unloaded" in told.stdout and "(default)" in told.stdout
            assert version() == "1"
            swapped = admin("swap", "digits", "next", "--token-file", str(token))
            assert swapped.exit_code == 0 and "version 2" in swapped.stdout
            assert version() == "2"
            refused = admin("swap", "digits", "nowhere", "--token-file", str(token))
            assert refused.exit_code == 1 and "no such folder" in refused.stderr
            # The folder that it was read from last is the one that is looked at again.
            save_digits(tmp_path / "models" / "next", "digits", version=3)
            started.send_signal(signal.SIGHUP)
            while version() != "3":
                assert started.poll() is None and time.monotonic() < limit
                time.sleep(0.02)
            unloaded = admin("unload", "digits", "--token-file", str(token))
            assert unloaded.exit_code == 0 and "digits: unloaded" in unloaded.stdout
            assert admin("load", "--token-file", str(token)).exit_code == 2
            loaded = admin("load", "digits", "--token-file", str(token))
            assert loaded.exit_code == 0 and "loaded" in loaded.stdout
        started.send_signal(signal.SIGTERM)
        _, log = started.communicate(timeout=60)
        assert started.returncode == 0, log
        assert list((tmp_path / "copies").glob("t2i-copy-*")) == []
    finally:
        started.kill()
        started.communicate()


def test_a_link_that_is_switched_is_followed_by_itself(tmp_path: Path) -> None:
    for number in (1, 2):
        save_digits(tmp_path / f"digits-{number}", "digits", version=number)
    current, port_file = tmp_path / "current", tmp_path / "port"
    current.symlink_to("digits-1")
    arguments = ["--address", "127.0.0.1:0", "--port-file", port_file, "--model", current]
    arguments += ["--watch-models", "0.2"]
    started = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, cwd=ROOT)
    try:
        limit = time.monotonic() + 60
        port = port_told(started, port_file)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            wait_until_serving(channel)
            one = GenerateImagesRequest(condition=pb.Condition(label=pb.LabelCondition(id=1)))

            def version() -> str:
                return str(ImageServiceStub(channel).GenerateImages(one).model.version)

            assert version() == "1"
            new = tmp_path / "new"
            new.symlink_to("digits-2")
            new.replace(current)
            while version() != "2":
                assert started.poll() is None and time.monotonic() < limit
                time.sleep(0.02)
        started.send_signal(signal.SIGTERM)
        _, log = started.communicate(timeout=60)
        assert started.returncode == 0, log
        assert b"digits (version 1" in log and b"is now digits (version 2" in log
    finally:
        started.kill()
        started.communicate()


def test_help_shows_how_to_start_and_every_default() -> None:
    done = run("--help")
    assert done.returncode == 0
    told = " ".join(done.stdout.split())
    assert "t2i-serve --address 0.0.0.0:50051 --tls-cert" in told
    for default in ("127.0.0.1:50051", "[default: 256]", "[default: 30.0]", "T2I_TOKEN"):
        assert default in told


def test_under_load_a_signal_costs_no_request_that_was_on_its_way(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    started, port = process
    outcomes: list[tuple[float, grpc.StatusCode]] = []

    def ask(channel: grpc.Channel) -> None:
        stub = ImageServiceStub(channel)
        while True:
            began = time.monotonic()
            try:
                stub.GenerateImages(GenerateImagesRequest(condition=BIRD, count=2), timeout=60)
            except grpc.RpcError as error:
                outcomes.append((began, error.code()))  # type: ignore[attr-defined]
                return
            outcomes.append((began, grpc.StatusCode.OK))

    channels = [grpc.insecure_channel(f"127.0.0.1:{port}") for _ in range(4)]
    wait_until_serving(channels[0])
    callers = [threading.Thread(target=ask, args=(channel,)) for channel in channels]
    for caller in callers:
        caller.start()
    while len(outcomes) < 20:
        time.sleep(0.01)
    told = time.monotonic()
    started.send_signal(signal.SIGTERM)
    for caller in callers:
        caller.join(60)
    for channel in channels:
        channel.close()
    _, log = started.communicate(timeout=60)
    assert started.returncode == 0, log
    before = [code for began, code in outcomes if began < told]
    after = [code for began, code in outcomes if began >= told]
    assert len(before) > 20 and set(before) == {grpc.StatusCode.OK}
    # Each caller ends with a call that is turned away in words, not cut off.
    assert set(after) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE} and after
