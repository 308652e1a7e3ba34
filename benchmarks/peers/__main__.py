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
    workers = core_count()
    turns: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        raw = Raw(options.model, options.batch)
        measures: dict[str, Callable[[], float]] = {
            "raw_batched": lambda: raw.batched_per_second(options.seconds)
        }
        for backend in ("thread", "process"):
            command = ["-m", "server.cli", "--address", "127.0.0.1:0", "--model", options.model]
            command += ["--backend", backend, "--log-level", "warning"]
            ours = stack.enter_context(serving([*command, "--max-batch", str(options.batch)]))
            measures[f"t2i_{backend}"] = lambda address=ours.address: asyncio.run(
                closed_loop(address, options.clients, options.seconds)
            )
        for name in options.peers:
            port = stack.enter_context(peer(PEERS[name][0], options.model, workers, options.batch))
            measures[name] = lambda port=port: asyncio.run(
                http_loop(port, options.clients, options.seconds)
            )
        # The first turn warms up.
        for turn in range(options.rounds + 1):
            for name, measure in measures.items():
                rate = measure()
                if turn:
                    turns.setdefault(name, []).append(rate)

    def ratio(mine: str, other: str) -> float:
        return statistics.median(m / o for m, o in zip(turns[mine], turns[other], strict=True))

    ours_and = [name for name in turns if name.startswith("t2i")]
    result = {
        "benchmark": "peers",
        "model": options.model,
        "batch": options.batch,
        "clients": options.clients,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {workers} used",
        "versions": versions,
        "pictures_per_second": {name: statistics.median(rates) for name, rates in turns.items()},
        "of_raw_batched": {n: ratio(n, "raw_batched") for n in turns if n != "raw_batched"},
        **{
            f"{mine}_times": {name: ratio(mine, name) for name in options.peers}
            for mine in ours_and
        },
    }
    print(json.dumps(rounded(result), indent=2))


if __name__ == "__main__":
    main()
