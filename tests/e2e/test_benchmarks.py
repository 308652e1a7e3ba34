import json
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[2]


def test_the_benchmark_of_a_cold_start_tells_every_phase() -> None:
    command = [sys.executable, "-m", "benchmarks.cold_start", "--runs", "1"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"loading torch", "loading the model"} <= set(told["seconds_by_phase"])
    assert all(seconds >= 0 for seconds in told["seconds_by_phase"].values())
