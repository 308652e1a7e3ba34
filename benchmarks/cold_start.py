"""How long `t2i generate` takes from cold, and where the time goes. Prints one JSON object.

    python -m benchmarks.cold_start
    python -m benchmarks.cold_start --model runs/flowers/bundle --runs 5

Each run is a new process. `seconds` is wall-clock time and `cpu_seconds` processor time of all its
threads; on a machine that does other work at the same time only the latter can be compared. The
phases come from one more process, and the packages that imports belong to from another one with
`-X importtime`, which costs a little itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from t2i.bundle import Bundle
from training.provenance import commit

CAPTION = "small bird with red head"
PHASES = """
import json, sys, time
marks = [("python and the command", time.perf_counter())]
from t2i.cli_conditions import Words
from t2i.cli_generate import Ask, draw_here
def tell(what):
    marks.append((what.lower(), time.perf_counter()))
draw_here(Ask(words=Words(caption=sys.argv[1]), model=sys.argv[2]), None, tell)
tell("end")
print(json.dumps({
    name: round(after - before, 3) for (name, before), (_, after) in zip(marks, marks[1:])
}))
"""
IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", re.MULTILINE)


def run(model: str, *options: str) -> tuple[float, float, str]:
    """Draw one picture in a new process; return wall-clock s, processor s, and standard error."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *options, "-m", "t2i.cli", "generate", CAPTION]
        command += ["--model", model, "--out", str(Path(folder, "bird.png"))]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, done.stderr


def by_phase(model: str) -> dict[str, float]:
    """Return the seconds of each phase of one drawing, in order."""
    command = [sys.executable, "-c", PHASES, CAPTION, model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    phases: dict[str, float] = json.loads(done.stdout)
    return phases


def by_package(report: str) -> dict[str, float]:
    """Return the seconds that importing took by package, the largest first."""
    totals: dict[str, int] = {}
    for microseconds, module in IMPORT.findall(report):
        package = module.partition(".")[0]
        totals[package] = totals.get(package, 0) + int(microseconds)
    largest = sorted(totals.items(), key=lambda item: -item[1])[:10]
    return {package: round(total / 1e6, 3) for package, total in largest}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time `t2i generate` from cold.")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    runs = [run(options.model) for _ in range(options.runs)]
    _, _, report = run(options.model, "-X", "importtime")
    load = os.getloadavg()[0]
    print(
        json.dumps(
            {
                "command": f"python -m benchmarks.cold_start --model {options.model}",
                "seconds": [round(seconds, 2) for seconds, _, _ in runs],
                "median_seconds": round(statistics.median(s for s, _, _ in runs), 2),
                "cpu_seconds": [round(cpu, 2) for _, cpu, _ in runs],
                "median_cpu_seconds": round(statistics.median(c for _, c, _ in runs), 2),
                "seconds_by_phase": by_phase(options.model),
                "import_seconds_by_package": by_package(report),
                "model_checksum": Bundle.load(options.model).checksum,
                "commit": commit() or "unknown",
                "torch": metadata.version("torch"),
                "machine": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "load_average": round(load, 1),
                "python": platform.python_version(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
