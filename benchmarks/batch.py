"""How fast a batch job draws, beside the raw batched forward pass of its model. Prints JSON.

    python -m benchmarks.batch --json
    python -m benchmarks.batch --json --rows 20000 --raw-rows 4000
    python -m benchmarks.batch --json --ray-workers 2

Both sides go from captions to PNG files in the same process on the same cores, every caption a new
one. The raw side knows no promise: it encodes captions in padded batches sorted by length, draws in
batches of sixteen on all of torch's threads while a thread packs the pictures before, and throws
the files away. The job is `t2i.batch.run_job`: shards, manifest, sheet, all on the disk. Half of
the raw rows are drawn before the job and half after it, so that a machine that slows down shows.

`pipeline_per_second` is what `Pipeline.encode` and `Pipeline.draw` give alone, which the promise of
the same bytes in any company allows at most. On a machine that does other work only processor time
compares. `start_seconds` is from the start of `t2i batch` on a
long file until it draws.

With `--ray-workers N` the same job is drawn by a Ray of this machine too, by one worker and by N:
`ray` tells both rates, what the workers share of N times one is, and whether the files are those of
this process. A worker is a process with one core, so N of them need N cores that nobody else uses.
`open_seconds` is what a job waits until the first worker has its model.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from t2i.batch import Job, PipelineDrawer, RayDrawer, ShardReport, Summary, run_job
from t2i.compute import core_count
from t2i.pictures import encode_picture
from t2i.pipeline import Draw, Pipeline
from training.provenance import commit

COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey", "orange", "purple")
SIZES = ("a small", "a large", "a tiny", "a plump", "a slender")
PLACES = ("on a branch", "on the ground", "in flight", "by the water at sunset", "in the snow")
ENCODED_AT_ONCE = 32
SORTED_AT_ONCE = 1024
DRAWN_AT_ONCE = 16


def captions(count: int) -> list[str]:
    """Return so many different captions of different lengths."""
    words = itertools.product(COLOURS, PLACES, SIZES, COLOURS, COLOURS, COLOURS)
    all_of_them = (
        f"{size} {body} bird with {wings} wings"
        + (f", a {belly} belly" if belly != body else "")
        + (f" and a {head} head {place}" if head != body else "")
        for head, place, size, belly, wings, body in words
    )
    return list(itertools.islice(dict.fromkeys(all_of_them), count))


def raw(pipeline: Pipeline, asked: Sequence[str]) -> None:
    """Draw with the bare networks."""
    generator = pipeline.bundle.generator(pipeline.device).to(memory_format=torch.channels_last)
    encoder = pipeline._encoders.text
    if encoder is None:
        raise SystemExit("the benchmark asks with captions: give a bundle that takes text")
    low, high = pipeline.bundle.config.value_range
    with torch.inference_mode(), ThreadPoolExecutor(1) as packing:
        packed: list[Future[list[bytes]]] = []
        for some in batches(asked, SORTED_AT_ONCE):
            in_order = sorted(some, key=len)
            embeddings = torch.cat(
                [encoder.encode_batch(part) for part in batches(in_order, ENCODED_AT_ONCE)]
            )
            for rows in embeddings.split(DRAWN_AT_ONCE):
                noise = torch.randn(len(rows), generator.noise_dim)
                augmentation = torch.randn(len(rows), generator.conditioning_dim)
                inputs = (x.to(pipeline.device) for x in (rows, noise, augmentation))
                pictures = generator(*inputs).pictures[-1]
                levels = (pictures.float() - low) * (255.0 / (high - low))
                array = levels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()
                arrays = array.contiguous().numpy()
                packed.append(packing.submit(pack, arrays))
        assert sum(len(future.result()) for future in packed) == len(asked)


def pack(arrays: NDArray[np.uint8]) -> list[bytes]:
    """Return a PNG file of each picture."""
    return [encode_picture(array) for array in arrays]


def promised(pipeline: Pipeline, asked: Sequence[str]) -> None:
    """Encode and draw as every picture is drawn."""
    for some in batches(asked, 64):
        embeddings = pipeline.encode(some)
        drawn = pipeline.draw([Draw(row, seed) for seed, row in enumerate(embeddings)])
        for stages in drawn:
            encode_picture(stages[-1])


@dataclass(frozen=True)
class Cost:
    """What some pictures cost: wall-clock time, and processor time of all threads."""

    pictures: int
    seconds: float
    cpu_seconds: float

    @classmethod
    def of(cls, work: Callable[[], object], pictures: int) -> Cost:
        """Measure."""
        began, cpu = time.perf_counter(), time.process_time()
        work()
        return cls(pictures, time.perf_counter() - began, time.process_time() - cpu)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.pictures + other.pictures,
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
        )

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.pictures / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Processor time of a picture."""
        return 1e3 * self.cpu_seconds / self.pictures


class Memory:
    """Notes the memory of this process as a job goes on."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._rows = 0
        self.mb: list[tuple[int, float]] = []

    def begin(self, rows: int) -> None:
        """See `t2i.batch.job.Progress`."""

    def found(self, report: ShardReport) -> None:
        """See `t2i.batch.job.Progress`."""

    def drawn(self, rows: int, pictures: int) -> None:
        """See `t2i.batch.job.Progress`."""
        self._rows += rows
        self.mb.append((self._rows, self._process.memory_info().rss / 1e6))

    def finished(self, report: ShardReport) -> None:
        """See `t2i.batch.job.Progress`."""

    def at(self, row: int) -> float:
        """Return the megabytes when so many rows were drawn."""
        return round(next(mb for rows, mb in self.mb if rows >= row), 1)


def start_seconds(model: str, rows: int) -> float:
    """Return how long `t2i batch` takes from its start to its first shard of a long file."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "captions.txt"), Path(folder, "out")
        with source.open("w") as file:
            for first in range(0, rows, 10_000):
                file.writelines(f"a red bird, number {first + n}\n" for n in range(10_000))
        began = time.perf_counter()
        command = [sys.executable, "-m", "t2i.cli", "batch", str(source), "--out", str(out)]
        process = subprocess.Popen([*command, "--model", model])
        try:
            while not any(out.glob("shards/*")) and not any(out.glob("shards/.*")):
                if process.poll() is not None:
                    raise SystemExit("the job ended before it began")
                time.sleep(0.01)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()


def on_ray(model: str, job: Job, workers: int) -> tuple[Summary, float]:
    """Run a job on so many workers; return its summary, and how long they took to be there."""
    waited: list[float] = []

    def opened() -> RayDrawer:
        began = time.perf_counter()
        drawer = RayDrawer(model, "cpu", workers=workers)
        waited.append(time.perf_counter() - began)
        # All of them are measured, and none while it loads.
        while len(drawer.pids) < workers:
            time.sleep(0.05)
        return drawer

    return run_job(job, opened), waited[0]


def ray_side(model: str, job: Job, workers: int) -> dict[str, object]:
    """Measure a job on one worker of a Ray and on several."""
    assert isinstance(job.out, Path)
    rates: dict[int, float] = {}
    same, waited = True, 0.0
    for count in (1, workers):
        out = job.out.with_name(f"ray-{count}")
        summary, waited = on_ray(model, replace(job, out=out), count)
        rates[count] = summary.pictures_per_second
        same &= files(out) == files(job.out)
    return {
        "workers": workers,
        "one_per_second": round(rates[1], 2),
        "all_per_second": round(rates[workers], 2),
        "all_over_one": round(rates[workers] / rates[1], 3),
        "share_of_ideal": round(rates[workers] / rates[1] / workers, 3),
        "open_seconds": round(waited, 2),
        "same_files": same,
    }


def files(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a job but its lock."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def batches(items: Sequence[str], size: int) -> Iterator[list[str]]:
    """Return items, so many at a time."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure a batch job against the bare networks.")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--rows", type=int, default=2000, help="captions of the job")
    parser.add_argument("--raw-rows", type=int, default=1000, help="captions of the raw side")
    parser.add_argument("--format", default="webdataset", help="format of the shards")
    parser.add_argument(
        "--long-rows", type=int, default=5_000_000, help="rows of the file to start on; 0 for none"
    )
    parser.add_argument("--rows-per-shard", type=int, default=1000, help="of the job")
    parser.add_argument(
        "--ray-workers", type=int, default=0, help="workers of a Ray to measure as well; 0 for none"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, the only form there is")
    options = parser.parse_args()

    pipeline = Pipeline.from_pretrained(options.model)
    pipeline.warm_up()
    half = options.raw_rows // 2
    asked = captions(options.rows + 4 * half)
    rest = iter([asked[n * half : (n + 1) * half] for n in range(4)])

    def measure(draw: Callable[[Pipeline, Sequence[str]], None]) -> Cost:
        some = next(rest)
        return Cost.of(lambda: draw(pipeline, some), len(some))

    raw(pipeline, asked[-DRAWN_AT_ONCE:])
    raw_before, kept_before = measure(raw), measure(promised)
    memory = Memory()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "captions.txt")
        source.write_text("".join(f"{caption}\n" for caption in asked[4 * half :]))
        job = Job(
            source=source,
            input_format="text",
            out=Path(folder, "out"),
            format=options.format,
            rows_per_shard=options.rows_per_shard,
        )
        summaries: list[Summary] = []
        drawn = Cost.of(
            lambda: summaries.append(
                run_job(job, lambda: PipelineDrawer(pipeline), progress=memory)
            ),
            options.rows,
        )
        raw_after, kept_after = measure(raw), measure(promised)
        ray = ray_side(options.model, job, options.ray_workers) if options.ray_workers else None
    (summary,) = summaries
    assert summary.pictures == options.rows
    bare, kept = raw_before + raw_after, kept_before + kept_after
    early = min(2000, summary.rows // 10)
    print(
        json.dumps(
            {
                "command": f"python -m benchmarks.batch {' '.join(sys.argv[1:])}",
                "rows": summary.rows,
                "seconds": round(drawn.seconds, 2),
                "job_per_second": round(drawn.rate, 2),
                "raw_per_second": [round(raw_before.rate, 2), round(raw_after.rate, 2)],
                "pipeline_per_second": [round(kept_before.rate, 2), round(kept_after.rate, 2)],
                "job_over_raw": round(drawn.rate / bare.rate, 3),
                "job_over_pipeline": round(drawn.rate / kept.rate, 3),
                "cpu_ms_per_picture": {
                    "job": round(drawn.cpu_ms, 2),
                    "raw": round(bare.cpu_ms, 2),
                    "pipeline": round(kept.cpu_ms, 2),
                },
                "rss_mb": {
                    f"row {early}": memory.at(early),
                    f"row {summary.rows}": memory.at(summary.rows),
                },
                "start_rows": options.long_rows,
                "start_seconds": round(start_seconds(options.model, options.long_rows), 2)
                if options.long_rows
                else None,
                "ray": ray,
                "model": pipeline.info.name,
                "model_checksum": pipeline.info.checksum,
                "commit": commit() or "unknown",
                "torch": metadata.version("torch"),
                "threads": torch.get_num_threads(),
                "cores": core_count(),
                "machine": platform.processor() or platform.machine(),
                "load_average": round(os.getloadavg()[0], 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
