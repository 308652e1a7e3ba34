"""How fast a bundle draws in this process, beside the raw forward pass of its generator.

    python -m benchmarks.drawing [--bundle default] [--seconds 5]

Prints JSON: milliseconds a caption takes to encode; milliseconds a picture takes alone and in a
call for eight and sixteen, through `Pipeline.draw`; the raw forward pass of the same generator on
the same cores, alone and in a batch of eight; and the ratio of the two. Medians.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch

from t2i import Pipeline
from t2i.bundle import Bundle
from t2i.compute import core_count
from t2i.pipeline import Draw


def median_ms(work: Callable[[], object], seconds: float) -> float:
    """Return the median duration of a call in milliseconds, after a warm-up."""
    for _ in range(3):
        work()
    durations = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        work()
        durations.append((time.perf_counter() - started) * 1000.0)
    return statistics.median(durations)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", default="default", help="name or folder of a bundle")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    given = parser.parse_args()

    bundle = Bundle.load(given.bundle)
    pipeline = Pipeline.from_pretrained(given.bundle)
    generator = bundle.generator()
    numbers = iter(range(10**9))
    encode = median_ms(
        lambda: pipeline.encode([f"a small red bird, number {next(numbers)}"]), given.seconds
    )
    embedding = pipeline.encode(["small bird with red head"])[0]
    drawn = {
        count: median_ms(
            lambda count=count: pipeline.draw([Draw(embedding, seed) for seed in range(count)]),
            given.seconds,
        )
        / count
        for count in (1, 8, 16)
    }
    raw = {}
    with torch.inference_mode():
        for count in (1, 8):
            inputs = (
                embedding.expand(count, -1),
                torch.randn(count, generator.noise_dim),
                torch.randn(count, generator.conditioning_dim),
            )
            raw[count] = median_ms(lambda i=inputs: generator(*i), given.seconds) / count
    print(
        json.dumps(
            {
                "bundle": pipeline.info.name,
                "checksum": pipeline.info.checksum,
                "bundle_mb": sum(path.stat().st_size for path in bundle.files()) / 1e6,
                "cores": core_count(),
                "torch": torch.__version__,
                "machine": platform.machine(),
                "encode_ms": encode,
                "draw_ms_per_picture": drawn,
                "raw_forward_ms_per_picture": raw,
                "raw_over_drawn_in_eights": raw[8] / drawn[8],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
