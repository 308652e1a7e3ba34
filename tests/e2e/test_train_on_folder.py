"""Training on a captioned folder with five faulty files works as docs/data.md says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i import Pipeline
from training.data.birds import bird_at, render

ROOT = Path(__file__).resolve().parents[2]
FAULTS = {
    "007.jpg": "truncated picture",
    "042.jpg": "empty file",
    "077.png": "not a picture",
    "111.jpg": "no caption",
    "150.jpg": "caption without picture",
}
SMALL = [
    *("--resolution", "32", "--stages", "16,32", "--stage-start", "0,0", "--width", "8"),
    *("--discriminator-width", "8", "--max-channels", "16", "--batch-size", "16"),
    *("--kimg", "0.064", "--caption-steps", "20", "--matcher-steps", "5", "--precision", "no"),
]


def train(*arguments: str | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "T2I_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [sys.executable, "-m", "training.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=290, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 birds as files with captions, five of them spoiled, each in another way."""
    folder = tmp_path_factory.mktemp("mine")
    lines = []
    for index in range(200):
        bird, captions = bird_at("train", 0, index)
        name = f"{index:03}.jpg" if f"{index:03}.png" not in FAULTS else f"{index:03}.png"
        Image.fromarray(render(bird, 64)).save(folder / name)
        row = {"file_name": name, "captions": [caption.text for caption in captions[:2]]}
        if FAULTS.get(name) != "no caption":
            lines.append(json.dumps(row) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    content = (folder / "007.jpg").read_bytes()
    (folder / "007.jpg").write_bytes(content[: len(content) // 2])
    (folder / "042.jpg").write_bytes(b"")
    (folder / "077.png").write_text("a list of birds, not a bird")
    (folder / "150.jpg").unlink()
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_checking_the_folder_names_the_five(folder: Path, cache: Path) -> None:
    done = train("data", "check", folder, "--resolution", "32", "--json", cache=cache)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert {fault["file"]: fault["kind"] for fault in report["faults"]} == FAULTS
    assert report["usable"] == 195 and report["trains"]


def test_training_skips_and_names_the_five_and_leaves_a_model(
    folder: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = train("run", "t2i", "--data", folder, "--out", run, *SMALL, cache=cache)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert {line["file"]: line["kind"] for line in lines} == FAULTS
    for name, kind in FAULTS.items():
        assert f"skipped {name}: {kind}" in done.stderr
    losses = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert losses[-1]["kimg"] == pytest.approx(0.064)
    assert all(np.isfinite(value) for line in losses for value in line.values())
    pipeline = Pipeline.from_pretrained(run / "bundle")
    (image,) = pipeline.generate("small bird with red head", seeds=[7]).images
    assert image.array.shape == (32, 32, 3) and image.array.std() > 0


def test_strict_training_refuses_the_folder(folder: Path, cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train("run", "t2i", "--data", folder, "--out", run, *SMALL, "--strict", cache=cache)
    assert done.returncode == 1
    assert "repair or remove it" in done.stderr
    assert any(name in done.stderr for name in FAULTS)
    assert not (run / "bundle").exists()
