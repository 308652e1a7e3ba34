"""What the server adds to the drawing itself, under light and heavy load. Prints one JSON object.

    python -m benchmarks.serving --json
    python -m benchmarks.serving --json --model runs/flowers/bundle --seconds 20 --clients 32
    python -m benchmarks.serving --json --quick

A real server in a process of its own, asked by the real client; all on one machine, which they
share here as they do not in a deployment. In one run, which takes about two minutes:

* `light`: one caller, one picture at a time: what a request takes, what of it is not encoding and
  drawing, and the same picture drawn and packed in this process without a server.
* `capacity`: as many callers as fill the batches (a closed loop): pictures a second, beside what
  this process does alone with the same batch size, cores and packing, once by the raw batched
  forward of the generator and once by `Pipeline.draw`, whose pictures do not depend on their
  company (ARCHITECTURE.md, "The seed contract"). All in turn, five times.
* `open_loop`: requests that come at random (Poisson) at 0.8, 1.5 and 3 times that capacity whoever
  waits, each with a deadline. Goodput is pictures received in time; `late` counts replies after
  the deadline, of which there should be none.
* `zero_work`: a server whose model takes no time (benchmarks/timed): the cost of the
  service itself, beside a bare gRPC server that gives the same answers; what two callers get of
  it when one is greedy, and how its memory grows.
* `server`: what the server says of itself: pictures drawn, requests refused and given up, and by
  how much its event loop was late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from t2i.client import AsyncClient, Completed, Finished, ImageFormat, Preview, ServiceError
from t2i.memory import keep_memory

CAPTION = "small bird with red head"
SERVING = health_pb2.HealthCheckResponse.SERVING
LOADS = (0.8, 1.5, 3.0)
ROUNDS = 5
# What may pass between a reply's arrival and this process's noticing it.
OWN_SECONDS = 0.010


@dataclass
class Running:
    """A server process that answers."""

    process: psutil.Process
    address: str
    ready_seconds: float
    ready_cpu_seconds: float
    report: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Running]:
    """Start a server and stop it at the end, when its own report is read.

    `ready_cpu_seconds` is processor time: on a machine that does other work, only that compares.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.perf_counter()
        port_file, report_file = folder / "port", folder / "report.json"
        files = ["--port-file", str(port_file), "--report-file", str(report_file)]
        process = subprocess.Popen([sys.executable, *command, *files])
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.005)
            address = f"127.0.0.1:{port_file.read_text().strip()}"
            with grpc.insecure_channel(address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                    if answer.status == SERVING:
                        break
            ready = time.perf_counter() - began
            seen = psutil.Process(process.pid)
            used = seen.cpu_times()
            running = Running(seen, address, ready, used.user + used.system)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        running.exit_code = code
        if report_file.exists():
            running.report = json.loads(report_file.read_text())


def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(milliseconds) or [float("nan")]
    return {
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
    }


async def one_by_one(
    client: AsyncClient, requests: int, format: ImageFormat = "png"
) -> dict[str, Any]:
    """Ask for one picture after the other, all at once and as a stream."""
    waits, overheads, previews, streams = [], [], [], []
    for seed in range(requests):
        began = time.perf_counter()
        result = await client.generate_images(CAPTION, seeds=[seed], format=format)
        waits.append((time.perf_counter() - began) * 1e3)
        drawing = result.timings.encode_ms + result.timings.generate_ms
        overheads.append(waits[-1] - drawing)
        began, first = time.perf_counter(), 0.0
        async for event in client.generate(CAPTION, seeds=[seed], format=format):
            if isinstance(event, Preview | Completed) and not first:
                first = (time.perf_counter() - began) * 1e3
            if isinstance(event, Finished):
                drawing = event.timings.encode_ms + event.timings.generate_ms
                streams.append((time.perf_counter() - began) * 1e3 - drawing)
        previews.append(first)
    return {
        "unary": quantiles(waits),
        "unary_overhead": quantiles(overheads),
        "stream_first_preview": quantiles(previews),
        "stream_overhead": quantiles(streams),
    }


async def closed_loop(address: str, clients: int, seconds: float, *, stream: bool = False) -> float:
    """Return pictures a second when several callers ask for one after the other."""
    async with AsyncClient(address, max_retries=0) as client:
        done = 0
        end = time.perf_counter() + seconds

        async def caller(number: int) -> None:
            nonlocal done
            chance = random.Random(number)
            while time.perf_counter() < end:
                seeds = [chance.randrange(2**63)]
                if stream:
                    async for _ in client.generate(CAPTION, seeds=seeds):
                        pass
                else:
                    await client.generate_images(CAPTION, seeds=seeds)
                done += 1

        began = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(clients)))
        return done / (time.perf_counter() - began)


async def open_loop(
    address: str, rate: float, seconds: float, deadline: float, seed: int = 0
) -> dict[str, Any]:
    """Ask for a picture at random times, whether or not the ones before are there."""
    chance = random.Random(seed)
    waits: list[float] = []
    outcomes: dict[str, int] = {}
    late = counted = 0
    # The queue fills first, and empties after the last request was sent: neither counts.
    settling = min(deadline, seconds / 4)

    async with AsyncClient(address, timeout=deadline, max_retries=0) as client:

        async def ask(picture: int) -> None:
            nonlocal late, counted
            sent = time.perf_counter()
            try:
                await client.generate_images(CAPTION, seeds=[picture])
            except ServiceError as error:
                name = error.reason or error.code.name
                outcomes[name] = outcomes.get(name, 0) + 1
                return
            now = time.perf_counter()
            waits.append(now - sent)
            late += waits[-1] > deadline + OWN_SECONDS
            counted += began + settling <= now < began + seconds

        tasks = []
        began = due = time.perf_counter()
        while (due := due + chance.expovariate(rate)) < began + seconds:
            # Those that are due already are sent together: the rate holds even if we are late.
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            tasks.append(asyncio.create_task(ask(chance.randrange(2**63))))
        await asyncio.gather(*tasks)
    return {
        "asked_per_second": len(tasks) / seconds,
        "received_per_second": counted / (seconds - settling),
        **quantiles([wait * 1e3 for wait in waits]),
        "late": late,
        "not_drawn": outcomes,
    }


async def two_callers(address: str, seconds: float) -> float:
    """Return what part of its half a modest caller gets beside a greedy one, at any speed."""
    received = {"greedy": 0, "modest": 0}
    # Another name of the same machine makes another connection, which counts as another caller.
    names = {"greedy": address, "modest": address.replace("127.0.0.1", "localhost")}

    async def keep_asking(name: str, client: AsyncClient, end: float, count: int) -> None:
        while time.perf_counter() < end:
            try:
                await client.generate_images(CAPTION, count=count, format="raw")
            except ServiceError:
                continue
            # Once both have all their requests there, and while they still ask.
            if end - seconds < time.perf_counter() < end:
                received[name] += count

    async with (
        AsyncClient(names["greedy"], max_retries=0) as greedy,
        AsyncClient(names["modest"], max_retries=0) as modest,
    ):
        end = time.perf_counter() + 1.0 + seconds
        await asyncio.gather(
            *(keep_asking("greedy", greedy, end, 4) for _ in range(48)),
            *(keep_asking("modest", modest, end, 1) for _ in range(40)),
        )
    return received["modest"] / (max(1, sum(received.values())) / 2)


async def memory(running: Running, requests: int) -> dict[str, float]:
    """Return how the server's memory grows over many requests, after a tenth of them."""
    async with AsyncClient(running.address, max_retries=0) as client:

        async def ask(times: int) -> None:
            for _ in range(times):
                await client.generate_images(CAPTION, format="raw")

        await asyncio.gather(*(ask(requests // 320) for _ in range(32)))
        before, used = running.process.memory_info().rss, sum(running.process.cpu_times()[:2])
        await asyncio.gather(*(ask(requests // 32) for _ in range(32)))
        after, spent = running.process.memory_info().rss, sum(running.process.cpu_times()[:2])
    return {
        "requests": requests,
        "before_mb": before / 1e6,
        "growth": after / before - 1,
        "cpu_ms_a_request": (spent - used) * 1e3 / requests,
    }


class Raw:
    """What this process draws and packs without a server, with the same batch and cores."""

    def __init__(self, model: str, batch: int) -> None:
        from t2i.conditions import Text
        from t2i.pipeline import Pipeline

        self._batch = batch
        self._pipeline = Pipeline.from_pretrained(model, device="cpu")
        self._pipeline.warm_up()
        self._embedding = self._pipeline.encode([Text(CAPTION)])[0]
        self._packers = ThreadPoolExecutor(2)
        for work in (self._forward, self._drawn):
            self._per_second(work, 0.1)

    def batched_per_second(self, seconds: float) -> float:
        """Return pictures a second of the generator's batched forward pass on all cores."""
        return self._per_second(self._forward, seconds)

    def drawn_per_second(self, seconds: float) -> float:
        """Return pictures a second of `Pipeline.draw`."""
        return self._per_second(self._drawn, seconds)

    def alone(self, seconds: float) -> list[float]:
        """Return the milliseconds that one picture takes, each time that it was drawn."""
        return [took * 1e3 for took in _times(lambda: self._drawn(1), seconds)]

    def _forward(self) -> None:
        import torch

        from t2i.pictures import encode_picture

        generator, batch = self._pipeline._generator, self._batch
        noise = torch.randn(batch, generator.noise_dim)
        conditioning = torch.randn(batch, generator.conditioning_dim)
        with torch.inference_mode():
            output = generator(self._embedding.expand(batch, -1), noise, conditioning)
            pixels = ((output.pictures[-1] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        arrays = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
        list(self._packers.map(encode_picture, arrays))

    def _drawn(self, count: int | None = None) -> None:
        from t2i.pictures import encode_picture
        from t2i.pipeline import Draw

        draws = [Draw(self._embedding, seed) for seed in range(count or self._batch)]
        pictures = self._pipeline.draw(draws)
        list(self._packers.map(encode_picture, [stages[-1] for stages in pictures]))

    def _per_second(self, work: Callable[[], None], seconds: float) -> float:
        return self._batch / statistics.mean(_times(work, seconds))


def _times(work: Callable[[], None], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def measure_capacity(address: str, raw: Raw, options: argparse.Namespace) -> dict[str, float]:
    """Return the service's and this process's pictures a second, measured in turn.

    A shared machine is faster in one minute than in the next: each ratio is the median of ratios of
    neighbours in time.
    """
    turns: dict[str, list[float]] = {n: [] for n in ("unary", "stream", "batched", "pipeline")}
    seconds = options.seconds / ROUNDS
    for _ in range(ROUNDS):
        turns["batched"].append(raw.batched_per_second(seconds))
        for name in ("unary", "stream"):
            loop = closed_loop(address, options.clients, seconds, stream=name == "stream")
            turns[name].append(asyncio.run(loop))
        turns["pipeline"].append(raw.drawn_per_second(seconds))

    def ratio(mine: str, whole: str) -> float:
        return statistics.median(m / w for m, w in zip(turns[mine], turns[whole], strict=True))

    return {
        **{f"{name}_per_second": statistics.median(rates) for name, rates in turns.items()},
        **{f"{name}_of_batched": ratio(name, "batched") for name in turns if name != "batched"},
        **{f"{name}_of_pipeline": ratio(name, "pipeline") for name in ("unary", "stream")},
    }


def measure(running: Running, raw: Raw, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a server with a real model."""

    async def one_caller() -> tuple[float, dict[str, Any]]:
        async with AsyncClient(running.address) as client:
            began = time.perf_counter()
            await client.generate_images(CAPTION, seeds=[0])
            first = (time.perf_counter() - began) * 1e3
            return first, await one_by_one(client, options.requests)

    first, light = asyncio.run(one_caller())
    light["raw_alone"] = quantiles(raw.alone(options.seconds / 2))
    capacity = measure_capacity(running.address, raw, options)
    unary = capacity["unary_per_second"]
    full_batch = options.batch / unary
    deadline = options.deadline_ms / 1e3 if options.deadline_ms else 5 * full_batch
    loads = []
    for load in LOADS:
        asked = open_loop(running.address, load * unary, options.seconds, deadline)
        found = asyncio.run(asked)
        found["goodput"] = found["received_per_second"] / unary
        found["p99_in_full_batches"] = found["p99_ms"] / 1e3 / full_batch
        loads.append({"load": load, **found})
    return {
        "first_request_ms": first,
        "light": light,
        "capacity": capacity,
        "open_loop": {
            "full_batch_ms": full_batch * 1e3,
            "deadline_ms": deadline * 1e3,
            "loads": loads,
        },
    }


async def measure_bare(running: Running, options: argparse.Namespace) -> dict[str, Any]:
    """Measure gRPC itself: a server that gives the same answers at once."""
    async with AsyncClient(running.address) as client:
        light = await one_by_one(client, options.requests, "raw")
    return {"unary": light["unary"], "stream": light["stream_overhead"]}


async def measure_zero_work(running: Running, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a server whose model takes no time."""
    async with AsyncClient(running.address) as client:
        # Raw pictures: what packing costs is known, and is no cost of the service.
        light = await one_by_one(client, options.requests, "raw")
    return {
        **light,
        "unary_per_second": await closed_loop(running.address, options.clients, options.seconds),
        "memory": await memory(running, options.memory_requests),
    }


def rounded(value: Any) -> Any:
    """Return a value whose numbers have three digits after the point."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def main() -> None:
    """Measure and print."""
    from t2i.compute import core_count

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON; it always does")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--backend", default="thread", help="thread, process or ray")
    parser.add_argument("--batch", type=int, default=8, help="pictures in a batch")
    parser.add_argument("--requests", type=int, default=200, help="requests one by one")
    parser.add_argument("--clients", type=int, default=24, help="callers at once")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--deadline-ms", type=float, help="default: 5 full batches")
    parser.add_argument("--memory-requests", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs")
    options = parser.parse_args()
    # As the server does: the raw pass shall not be slower for another reason.
    keep_memory()
    if options.quick:
        options.requests, options.seconds, options.memory_requests = 3, 0.4, 320
    command = ["-m", "server.cli", "--address", "127.0.0.1:0", "--model", options.model]
    command += ["--max-batch", str(options.batch), "--log-level", "warning"]
    command += ["--backend", options.backend]
    with serving(command) as server:
        found = measure(server, Raw(options.model, options.batch), options)
    with serving(["-m", "benchmarks.timed"]) as idle:
        zero = asyncio.run(measure_zero_work(idle, options))
    with serving(["-m", "benchmarks.timed", "--bare"]) as bare:
        zero["bare_grpc"] = asyncio.run(measure_bare(bare, options))
    # Slow enough for both callers to have requests waiting all the time, however fast they ask.
    timed = ["-m", "benchmarks.timed", "--fixed-ms", "10", "--each-ms", "5", "--batch", "8"]
    with serving(timed) as slow:
        zero["share_of_the_modest"] = asyncio.run(two_callers(slow.address, options.seconds))
    result = {
        "benchmark": "serving",
        "model": options.model,
        "backend": options.backend,
        "batch": options.batch,
        "requests": options.requests,
        "clients": options.clients,
        "seconds": options.seconds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {core_count()} used",
        "ready_seconds": server.ready_seconds,
        "ready_cpu_seconds": server.ready_cpu_seconds,
        **found,
        "zero_work": zero,
        "server": server.report,
        "exit_code": server.exit_code,
    }
    print(json.dumps(rounded(result), indent=2))


if __name__ == "__main__":
    main()
