"""How fast a bundle draws in this process, beside the raw forward pass of its generator.

    python -m benchmarks.drawing [--bundle default] [--seconds 5]

Prints JSON: milliseconds a caption takes to encode; milliseconds a picture takes alone and in a
call for eight and sixteen, through `Pipeline.draw`; the raw forward pass of the same generator on
the same cores, alone and in a batch of eight; and the ratio of the two. Medians of the clock, and
beside them of the processor time of all threads, which says the same on a machine that is shared.
Drawing and raw forward take turns, so that both meet the same neighbours.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from t2i import Pipeline
from t2i.bundle import Bundle
from t2i.compute import core_count
from t2i.pipeline import Draw


class Durations(NamedTuple):
    """Median milliseconds of a call.

    Attributes:
        clock: passed on the clock.
        processor: spent by all threads of this process.
    """

    clock: float
    processor: float

    def over(self, count: int) -> Durations:
        """Return the durations of one of `count` pictures that share the call."""
        return Durations(self.clock / count, self.processor / count)


def median_ms(works: Sequence[Callable[[], object]], seconds: float) -> list[Durations]:
    """Return the median durations of calls that take turns, after a warm-up.

    Args:
        works: what to call.
        seconds: how long to measure each.
    """
    for work in works:
        for _ in range(3):
            work()
    taken: list[list[tuple[float, float]]] = [[] for _ in works]
    end = time.perf_counter() + seconds * len(works)
    while time.perf_counter() < end:
        for work, durations in zip(works, taken, strict=True):
            clock, processor = time.perf_counter(), time.process_time()
            work()
            durations.append((time.perf_counter() - clock, time.process_time() - processor))
    return [
        Durations(*(1000.0 * statistics.median(column) for column in zip(*durations, strict=True)))
        for durations in taken
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", default="default", help="name or folder of a bundle")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    given = parser.parse_args()

    bundle = Bundle.load(given.bundle)
    pipeline = Pipeline.from_pretrained(given.bundle, device="cpu")
    generator: Any = bundle.generator()
    numbers = iter(range(10**9))
    (encode,) = median_ms(
        [lambda: pipeline.encode([f"a small red bird, number {next(numbers)}"])], given.seconds
    )
    embedding = pipeline.encode(["small bird with red head"])[0]

    def draw(count: int) -> Callable[[], object]:
        return lambda: pipeline.draw([Draw(embedding, seed) for seed in range(count)])

    def forward(count: int) -> Callable[[], object]:
        inputs = (
            embedding.expand(count, -1),
            torch.randn(count, generator.noise_dim),
            torch.randn(count, generator.conditioning_dim),
        )
        return lambda: generator(*inputs)

    with torch.inference_mode():
        draws_together = pipeline.draws_together
        found = median_ms([draw(1), draw(8), draw(16), forward(1), forward(8)], given.seconds)
    drawn = {count: each.over(count) for count, each in zip((1, 8, 16), found[:3], strict=True)}
    raw = {count: each.over(count) for count, each in zip((1, 8), found[3:], strict=True)}
    print(
        json.dumps(
            {
                "bundle": pipeline.info.name,
                "checksum": pipeline.info.checksum,
                "bundle_mb": sum(path.stat().st_size for path in bundle.files()) / 1e6,
                "cores": core_count(),
                "torch": torch.__version__,
                "machine": platform.machine(),
                "draws_together": draws_together,
                "encode_ms": encode.clock,
                "draw_ms_per_picture": {n: each.clock for n, each in drawn.items()},
                "draw_processor_ms_per_picture": {n: each.processor for n, each in drawn.items()},
                "raw_forward_ms_per_picture": {n: each.clock for n, each in raw.items()},
                "raw_forward_processor_ms_per_picture": {
                    n: each.processor for n, each in raw.items()
                },
                "raw_over_drawn_in_eights": raw[8].clock / drawn[8].clock,
                "raw_over_drawn_in_eights_by_processor": raw[8].processor / drawn[8].processor,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
