"""What the forward pass costs in each way in which the networks of a bundle can run on a CPU.

    python -m benchmarks.forward [--json] [--model default] [--only generator] [--ways eager drawn]

One thread. For what reads captions and for the generator, at several batch sizes: milliseconds of
the clock and of the processor in each way (benchmarks/ways), as a share of the pipeline's own way,
how long it takes to get ready, how far its results are from those of plain float32, and whether a
row has the same bits alone and in company, as the seed contract asks. The ways take turns, and
shares are medians over the shares of the rounds, so that all meet the same neighbours.
`--profile` tells where the time of the pipeline's way goes. A way that cannot be gone here (no
compiler, no such package) is told with the reason.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.ways import ENCODER_WAYS, GENERATOR_WAYS, Call, Unavailable, Way
from benchmarks.ways.subjects import Subject, encoder_subject, generator_subject
from t2i.bundle import Bundle
from t2i.memory import keep_memory
from training.provenance import commit

# The pipeline's own way, which the others are compared with.
OURS = {"encoder": "read", "generator": "drawn"}
WAYS = {"encoder": ENCODER_WAYS, "generator": GENERATOR_WAYS}
SIZES = {"encoder": (1, 8, 32), "generator": (1, 8, 16)}


def seconds_taken() -> tuple[float, float]:
    """Return the clock, and the processor time of this process and of children that have ended."""
    spent = os.times()
    return time.perf_counter(), sum(spent[:4])


def measure(
    subject: Subject, ways: Mapping[str, Way], ours: str, sizes: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Return what each way costs and gives.

    Args:
        subject: what runs.
        ways: in which ways; `eager` and ours are always among them.
        ours: the way that shares are of.
        sizes: rows; the first is 1.
        rounds: how often the ways take turns.
    """
    inputs = subject.sizes(sizes)
    told: dict[str, Any] = {}
    calls: dict[str, Call] = {}
    outputs: dict[str, dict[int, list[Tensor]]] = {}
    for name, way in ways.items():
        told[name] = {"about": way.about}
        clock, processor = seconds_taken()
        try:
            call = way.make(subject.network(), inputs)
            found = {size: [each.clone() for each in call(inputs[size])] for size in sizes}
        except Unavailable as reason:
            told[name]["skipped"] = str(reason)
            continue
        except Exception as error:
            # A runtime that refuses the network is a finding; that plain torch does is a fault.
            if name in ("eager", ours):
                raise
            told[name]["skipped"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        now, spent = seconds_taken()
        told[name]["ready_seconds"] = round(now - clock, 3)
        told[name]["ready_processor_seconds"] = round(spent - processor, 3)
        calls[name], outputs[name] = call, found
    for name, found in outputs.items():
        told[name] |= compared(call_alone(calls[name], subject, max(sizes)), found)
        told[name] |= distances(outputs["eager"], found)
        told[name]["batches"] = {}
    for size in sizes:
        for name, durations in in_turn(calls, inputs[size], rounds).items():
            told[name]["batches"][str(size)] = durations
        for name in calls:
            here = told[name]["batches"][str(size)]
            own = told[ours]["batches"][str(size)]["each_processor_ms"]
            shares = [a / b for a, b in zip(here["each_processor_ms"], own, strict=True)]
            here["of_ours"] = round(statistics.median(shares), 3)
    for name in calls:
        for here in told[name]["batches"].values():
            del here["each_processor_ms"]
    return told


def in_turn(
    calls: Mapping[str, Call], inputs: tuple[Tensor, ...], rounds: int, least_ms: float = 30.0
) -> dict[str, dict[str, Any]]:
    """Return median milliseconds of calls that take turns.

    Args:
        calls: by name.
        inputs: of each.
        rounds: turns.
        least_ms: how long a turn takes, at least.
    """
    repeats = {}
    for name, call in calls.items():
        began = time.process_time()
        call(inputs)
        took = 1000.0 * (time.process_time() - began)
        repeats[name] = max(1, min(20, round(least_ms / max(took, 0.1))))
    clocks: dict[str, list[float]] = {name: [] for name in calls}
    processors: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        order = list(calls) if number % 2 == 0 else list(reversed(calls))
        for name in order:
            call = calls[name]
            clock, processor = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                call(inputs)
            each = 1000.0 / repeats[name]
            clocks[name].append(each * (time.perf_counter() - clock))
            processors[name].append(each * (time.process_time() - processor))
    return {
        name: {
            "clock_ms": round(statistics.median(clocks[name]), 3),
            "processor_ms": round(statistics.median(processors[name]), 3),
            "each_processor_ms": processors[name],
        }
        for name in calls
    }


def call_alone(call: Call, subject: Subject, count: int) -> list[list[Tensor]]:
    """Return what each of the first rows gives alone."""
    return [
        [
            each[0].clone()
            for each in call(tuple(each[n : n + 1].clone() for each in subject.inputs))
        ]
        for n in range(count)
    ]


def compared(
    alone: Sequence[Sequence[Tensor]], found: Mapping[int, Sequence[Tensor]]
) -> dict[str, Any]:
    """Return in which batches every row has the bits that it has alone."""

    def same(size: int) -> bool:
        return all(
            torch.equal(each[row], one)
            for row in range(size)
            for each, one in zip(found[size], alone[row], strict=True)
        )

    return {"same_bits_as_alone": {str(size): same(size) for size in found if size > 1}}


def distances(
    expected: Mapping[int, Sequence[Tensor]], found: Mapping[int, Sequence[Tensor]]
) -> dict[str, float]:
    """Return how far results are from plain float32.

    Of embeddings the smallest cosine; of pictures the largest difference in levels of 0 to 255.
    """
    pairs = [
        (one.double(), other.double())
        for size in expected
        for one, other in zip(expected[size], found[size], strict=True)
    ]
    if pairs[0][0].dim() == 2:
        cosines = (F.cosine_similarity(one, other).min() for one, other in pairs)
        return {"least_cosine": round(float(min(cosines)), 9)}
    largest = max(float((one - other).abs().max()) for one, other in pairs)
    # Levels of pictures in [-1, 1].
    return {"largest_difference_levels": round(127.5 * largest, 5)}


def where_time_goes(call: Call, inputs: tuple[Tensor, ...], passes: int = 20) -> dict[str, float]:
    """Return the milliseconds of a pass by operator, the dearest first, as the profiler sees them.

    The profiler makes small operators dearer than they are.
    """
    for _ in range(5):
        call(inputs)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(passes):
            call(inputs)
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)[:14]
    return {row.key: round(row.self_cpu_time_total / 1000 / passes, 3) for row in rows}


def table(told: Mapping[str, Any], sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a page's table."""
    yield (
        "| way | ready after, s |"
        + "".join(f" {size}: ms of the processor, share |" for size in sizes)
        + " from float32 | same bits alone and together |"
    )
    yield "|---|---|" + "---|" * (len(sizes) + 2)
    for name, row in told.items():
        if "skipped" in row:
            yield f"| {name} | skipped: {row['skipped']} |" + " |" * (len(sizes) + 2)
            continue
        costs = "".join(
            f" {each['processor_ms']:.1f}, {each['of_ours']:.2f} |"
            for each in row["batches"].values()
        )
        far = (
            f"cosine {row['least_cosine']:.7f}"
            if "least_cosine" in row
            else f"{row['largest_difference_levels']:.4f} levels"
        )
        same = row["same_bits_as_alone"].values()
        holds = ("yes" if all(same) else "no") if same else "not tried"
        yield f"| {name} | {row['ready_seconds']:.1f} |{costs} {far} | {holds} |"


def main() -> None:
    """Measure and print."""
    names = list(dict.fromkeys([*ENCODER_WAYS, *GENERATOR_WAYS]))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--only", choices=list(WAYS), help="one of the two networks")
    parser.add_argument(
        "--ways", nargs="+", choices=names, metavar="WAY",
        help=f"some of: {'; '.join(names)}; plain float32 and the pipeline's way always run",
    )  # fmt: skip
    parser.add_argument("--sizes", nargs="+", type=int, help="batch sizes; the first is 1")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each way at each size")
    parser.add_argument("--profile", action="store_true", help="tell where the time goes")
    given = parser.parse_args()
    if given.sizes and (given.sizes[0] != 1 or min(given.sizes) < 1):
        parser.error("--sizes: begins with 1, the caption or picture alone, and has none below")
    if given.rounds < 1:
        parser.error(f"--rounds: {given.rounds} is less than 1; give 1 or more")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    # As the programs that draw do.
    keep_memory()
    torch.set_num_threads(1)
    bundle = Bundle.load(given.model)
    told: dict[str, Any] = {
        "command": f"python -m benchmarks.forward --model {given.model} --rounds {given.rounds}",
        "bundle": bundle.config.name,
        "checksum": bundle.checksum,
        "threads": 1,
        "rounds": given.rounds,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "commit": commit() or "unknown",
        "load_average": round(os.getloadavg()[0], 1),
    }
    sizes = {name: tuple(given.sizes or SIZES[name]) for name in WAYS}
    with torch.inference_mode():
        embeddings: Tensor | None = None
        subjects: dict[str, Subject] = {}
        try:
            subjects["encoder"] = encoder_subject(bundle, max(sizes["encoder"]))
            (embeddings,) = subjects["encoder"].network()(*subjects["encoder"].inputs)
        except Unavailable as reason:
            told["encoder"] = {"skipped": str(reason)}
        subjects["generator"] = generator_subject(bundle, max(sizes["generator"]), embeddings)
    for name, subject in subjects.items():
        if given.only not in (None, name):
            continue
        ours = OURS[name]
        ways = {
            key: way
            for key, way in WAYS[name].items()
            if given.ways is None or key in (*given.ways, "eager", ours)
        }
        with torch.inference_mode():
            told[name] = measure(subject, ways, ours, sizes[name], given.rounds)
            if given.profile:
                inputs = subject.sizes(sizes[name])
                call = ways[ours].make(subject.network(), inputs)
                told[f"{name}_profile_ms"] = {
                    str(size): where_time_goes(call, inputs[size]) for size in sizes[name]
                }
    if given.json:
        print(json.dumps(told, indent=2))
        return
    for name in WAYS:
        if name not in told:
            continue
        print(f"**{name}**\n")
        skipped = told[name].get("skipped")
        print(skipped if skipped else "\n".join(table(told[name], sizes[name])))
        print()
        for size, rows in told.get(f"{name}_profile_ms", {}).items():
            print(f"Of a pass of {size}: " + ", ".join(f"{k} {v} ms" for k, v in rows.items()))


if __name__ == "__main__":
    main()
