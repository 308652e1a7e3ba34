"""What the server adds to the drawing itself, and how soon it is ready. Prints one JSON object.

    python -m benchmarks.serving
    python -m benchmarks.serving --model runs/flowers/bundle --requests 500 --clients 32

Overhead of a request is the time that its client waits less the time that the server spent in
encoder and generator. The ideal rate is that of `Pipeline.draw` in the server's place, alone on the
same machine with the same batch size; clients and server share that machine here, as they do not in
a deployment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from t2i.client import AsyncClient, Completed, Finished, Preview

CAPTION = "small bird with red head"
SERVING = health_pb2.HealthCheckResponse.SERVING


def start(model: str, folder: Path) -> tuple[subprocess.Popen[bytes], str, float, float]:
    """Start the server; return it, its address, and the seconds from start to SERVING.

    The last figure is processor time: on a machine that does other work, only that compares.
    """
    began = time.perf_counter()
    port_file = folder / "port"
    command = [sys.executable, "-m", "server.cli", "--address", "127.0.0.1:0", "--model", model]
    command += ["--port-file", str(port_file), "--log-level", "warning"]
    process = subprocess.Popen(command)
    while not port_file.exists():
        if process.poll() is not None:
            raise SystemExit("the server did not start")
        time.sleep(0.005)
    address = f"127.0.0.1:{port_file.read_text().strip()}"
    with grpc.insecure_channel(address) as channel:
        for answer in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            if answer.status == SERVING:
                break
    ready = time.perf_counter() - began
    used = psutil.Process(process.pid).cpu_times()
    return process, address, ready, used.user + used.system


async def one_by_one(client: AsyncClient, requests: int) -> dict[str, float]:
    """Ask for one picture after the other, all at once and as a stream."""
    waits, overheads, previews, streams = [], [], [], []
    for seed in range(requests):
        began = time.perf_counter()
        result = await client.generate_images(CAPTION, seeds=[seed], format="raw")
        waits.append((time.perf_counter() - began) * 1e3)
        drawing = result.timings.encode_ms + result.timings.generate_ms
        overheads.append(waits[-1] - drawing)
        began, first = time.perf_counter(), 0.0
        async for event in client.generate(CAPTION, seeds=[seed], format="raw"):
            if isinstance(event, Preview | Completed) and not first:
                first = (time.perf_counter() - began) * 1e3
            if isinstance(event, Finished):
                drawing = event.timings.encode_ms + event.timings.generate_ms
                streams.append((time.perf_counter() - began) * 1e3 - drawing)
        previews.append(first)
    return {
        "unary_p50_ms": statistics.median(waits),
        "unary_p95_ms": statistics.quantiles(waits, n=20)[-1],
        "unary_overhead_p50_ms": statistics.median(overheads),
        "first_preview_p50_ms": statistics.median(previews),
        "stream_overhead_p50_ms": statistics.median(streams),
    }


async def many_at_once(client: AsyncClient, clients: int, requests: int) -> float:
    """Return pictures a second when several callers ask for one after the other."""
    seeds = iter(range(requests))

    async def caller() -> None:
        for seed in seeds:
            await client.generate_images(CAPTION, seeds=[seed], format="raw")

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(clients)))
    return requests / (time.perf_counter() - began)


def ideal(model: str, requests: int) -> float:
    """Return pictures a second of the pipeline alone, in batches of one picture a core."""
    from t2i.compute import core_count
    from t2i.conditions import Text
    from t2i.pipeline import Draw, Pipeline

    pipeline = Pipeline.from_pretrained(model, device="cpu")
    pipeline.warm_up()
    embedding, size = pipeline.encode([Text(CAPTION)])[0], core_count()
    began = time.perf_counter()
    for first in range(0, requests, size):
        seeds = range(first, min(first + size, requests))
        pipeline.draw([Draw(embedding, seed, 1.0, 1.0) for seed in seeds])
    return requests / (time.perf_counter() - began)


async def measure(address: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure a running server."""
    async with AsyncClient(address) as client:
        began = time.perf_counter()
        await client.generate_images(CAPTION, seeds=[0])
        first = (time.perf_counter() - began) * 1e3
        found = {"first_request_ms": first, **await one_by_one(client, options.requests)}
        found["pictures_per_second"] = await many_at_once(
            client, options.clients, 4 * options.requests
        )
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--requests", type=int, default=200, help="requests one by one")
    parser.add_argument("--clients", type=int, default=8, help="callers at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, address, ready, ready_cpu = start(options.model, Path(folder))
        try:
            found = asyncio.run(measure(address, options))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    best = ideal(options.model, 4 * options.requests)
    result = {
        "benchmark": "serving",
        "model": options.model,
        "requests": options.requests,
        "clients": options.clients,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "ready_seconds": ready,
        "ready_cpu_seconds": ready_cpu,
        **found,
        "ideal_pictures_per_second": best,
        "of_ideal": found["pictures_per_second"] / best,
        "exit_code": process.returncode,
    }
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}
    print(json.dumps(rounded, indent=2))


if __name__ == "__main__":
    main()
