"""Two gloo processes hold the same networks: with penalties, BatchNorm, labels, accumulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from training.registry import recipes

ROOT = Path(__file__).parents[3]
PAPERS = sorted(key for key, entry in recipes().items() if entry.section)


def launch(processes: int, out: Path, precision: str, micro_batches: int, keys: list[str]) -> None:
    out.mkdir()
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(processes), "-m", "tests.training.zoo.two_processes"),
        *(str(out), precision, str(micro_batches), ",".join(keys)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_paper_stays_the_same_on_both_processes(tmp_path: Path) -> None:
    launch(2, tmp_path / "two", "bf16", 2, PAPERS)
    for key in PAPERS:
        first = load_file(tmp_path / "two" / f"{key}-rank0.safetensors")
        second = load_file(tmp_path / "two" / f"{key}-rank1.safetensors")
        for name, value in first.items():
            assert torch.equal(value, second[name]), f"{key}: {name} drifts apart"


def test_a_penalty_on_two_processes_is_the_penalty_on_one(tmp_path: Path) -> None:
    """Without BatchNorm two halves are the whole, up to the rounding of sums in another order."""
    # Adam's first step is the learning rate wherever there is any gradient, so a rounding
    # difference of a gradient near zero would show; the median weight must not.
    launch(2, tmp_path / "two", "no", 1, ["wgan-gp"])
    launch(1, tmp_path / "one", "no", 2, ["wgan-gp"])
    first = load_file(tmp_path / "two" / "wgan-gp-rank0.safetensors")
    second = load_file(tmp_path / "one" / "wgan-gp-rank0.safetensors")
    apart = [(first[k] - second[k]).abs().flatten() for k in first if k.startswith("disc")]
    assert float(torch.cat(apart).median()) < 1e-5
