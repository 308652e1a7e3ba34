"""Measure our server and its peers in turn; the package tells what for."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.serving import CAPTION, Raw, closed_loop, rounded, serving
from t2i.compute import core_count
from t2i.memory import keep_memory

PEERS = {
    "litserve": ("benchmarks.peers.lit", "litserve"),
    "ray": ("benchmarks.peers.ray_serve", "ray"),
}
START_SECONDS = 120.0


async def ask(
    port: int, seed: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    """Send one request on an open connection and return the picture."""
    body = json.dumps({"caption": CAPTION, "seed": seed}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answered = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = answered.split(" ", 2)[1]
    length = int(answered.partition("content-length:")[2].partition("\r\n")[0])
    picture = await reader.readexactly(length)
    if status != "200":
        raise ConnectionError(f"the answer is {status}: {picture[:200]!r}")
    return picture


async def http_loop(port: int, clients: int, seconds: float) -> float:
    """Return pictures a second when several callers ask for one after the other."""
    done = 0
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        nonlocal done
        chance = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            picture = await ask(port, chance.randrange(2**63), reader, writer)
            assert picture.startswith(b"\x89PNG")
            done += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(clients)))
    return done / (time.perf_counter() - began)


@contextlib.contextmanager
def peer(module: str, model: str, workers: int, batch: int) -> Iterator[int]:
    """Start a peer and yield its port once it draws."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", module, "--model", model, "--port", str(port)]
    command += ["--workers", str(workers), "--batch", str(batch)]
    process = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                asyncio.run(http_loop(port, 1, 0.0001))
                break
            except (OSError, asyncio.IncompleteReadError, ValueError):
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{module} did not start") from None
                time.sleep(0.2)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def beside(name: str | None, raw: Raw, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return what ours, one peer and the raw pass did in turn.

    One peer at a time, because some keep the cores busy while nobody asks.
    """
    seconds = options.seconds
    turns: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        measures: dict[str, Callable[[], float]] = {"raw": lambda: raw.batched_per_second(seconds)}
        for backend in ("thread", "process"):
            command = ["-m", "server.cli", "--address", "127.0.0.1:0", "--model", options.model]
            command += ["--backend", backend, "--log-level", "warning"]
            ours = stack.enter_context(serving([*command, "--max-batch", str(options.batch)]))
            measures[f"t2i_{backend}"] = lambda address=ours.address: asyncio.run(
                closed_loop(address, options.clients, seconds)
            )
        if name is not None:
            started = peer(PEERS[name][0], options.model, core_count(), options.batch)
            port = stack.enter_context(started)
            measures[name] = lambda: asyncio.run(http_loop(port, options.clients, seconds))
        # The first turn warms up.
        for turn in range(options.rounds + 1):
            for who, measure in measures.items():
                rate = measure()
                if turn:
                    turns.setdefault(who, []).append(rate)

    def ratio(mine: str, other: str) -> float:
        return statistics.median(m / o for m, o in zip(turns[mine], turns[other], strict=True))

    told = {
        "pictures_per_second": {who: statistics.median(rates) for who, rates in turns.items()},
        "of_raw": {who: ratio(who, "raw") for who in turns if who != "raw"},
    }
    if name is not None:
        told["of_the_peer"] = {who: ratio(who, name) for who in turns if who.startswith("t2i")}
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Ours and other servers with the same model.")
    parser.add_argument("--json", action="store_true", help="print JSON; it always does")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=sorted(PEERS))
    parser.add_argument("--batch", type=int, default=8, help="pictures in a batch")
    parser.add_argument("--clients", type=int, default=24, help="callers at once")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    options = parser.parse_args()
    keep_memory()
    versions = {}
    for name in options.peers:
        try:
            versions[name] = importlib.metadata.version(PEERS[name][1])
        except importlib.metadata.PackageNotFoundError:
            parser.error(f"{name} is not installed; pip install {name}, or name other --peers")
    raw = Raw(options.model, options.batch)
    found = {name: beside(name, raw, options) for name in options.peers}
    result = {
        "benchmark": "peers",
        "model": options.model,
        "batch": options.batch,
        "clients": options.clients,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {core_count()} used",
        "versions": versions,
        "beside": found or {"nobody": beside(None, raw, options)},
    }
    print(json.dumps(rounded(result), indent=2))


if __name__ == "__main__":
    main()
