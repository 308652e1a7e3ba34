"""A run that is stopped, killed or asked to go on otherwise, through the real command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from t2i import Pipeline
from training import checkpoint
from training.registry import find_recipe

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("run", "t2i", "--data", "birds:48", "--stages", "16,64", "--stage-start", "0,0"),
    *("--width", "4", "--discriminator-width", "4", "--max-channels", "16", "--batch-size", "8"),
    *(
        "--caption-steps",
        "3",
        "--matcher-steps",
        "2",
        "--precision",
        "no",
        "--checkpoint-kimg",
        "0.08",
        "--quiet",
    ),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "T2I_CACHE": str(tmp_path_factory.mktemp("cache")),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def start(arguments: Sequence[str | Path], environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "training.cli", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=240)
    return process.returncode, errors


def wait_for_checkpoint(process: subprocess.Popen[str], out: Path) -> Path:
    deadline = time.monotonic() + 200
    while not checkpoint.complete(out / "checkpoints"):
        assert process.poll() is None, finish(process)[1]
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.05)
    return checkpoint.complete(out / "checkpoints")[0]


def test_a_killed_run_loses_no_more_than_since_its_last_checkpoint(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "killed"
    process = start([*SMALL, "--kimg", "1000", "--out", out], environment)
    wait_for_checkpoint(process, out)
    process.kill()
    finish(process)
    last = checkpoint.complete(out / "checkpoints")[-1]
    shown = int(last.name) / 1000
    more = [*SMALL, "--kimg", f"{shown + 0.04:.3f}", "--out", out]
    code, errors = finish(start(more, environment))
    assert code == 0, errors
    assert f"resumed at {shown:.1f} kimg" in errors
    assert Pipeline.from_pretrained(out / "bundle").generate("small bird with red head").images


def test_a_run_that_is_told_to_stop_saves_and_says_how_to_go_on(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "stopped"
    process = start([*SMALL, "--kimg", "1000", "--out", out], environment)
    first = wait_for_checkpoint(process, out)
    process.send_signal(signal.SIGINT)
    code, errors = finish(process)
    assert code == 130
    assert "run the same command again to go on" in errors
    last = checkpoint.complete(out / "checkpoints")[-1]
    assert checkpoint.read_state(last)["kimg"] == int(last.name) / 1000
    assert int(last.name) >= int(first.name)
    changed = [*SMALL, "--kimg", "1000", "--out", out, "--width", "8"]
    code, errors = finish(start(changed, environment))
    assert code == 1
    assert "width was 4, now 8" in errors and "Traceback" not in errors


def test_a_dry_run_tells_the_plan_and_leaves_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "planned"
    command = [sys.executable, "-m", "training.cli", *SMALL, "--out", str(out), "--dry-run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    for word in ("generator", "discriminator", "M parameters", "memory", "pictures/s", "400 kimg"):
        assert word in done.stdout
    assert not out.exists()


def test_help_explains_every_knob(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "training.cli", "run", "t2i", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    flat = re.sub(r"\s+", " ", done.stdout)
    for knob in find_recipe("t2i").knobs:
        assert "--" + knob.name.replace("_", "-") in flat
        assert knob.help.split(";")[0].split(",")[0][:40] in flat
