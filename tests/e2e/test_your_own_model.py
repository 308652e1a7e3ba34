"""docs/your-own-model.md, command by command, on a folder of forty birds that plays the flowers."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from training.data.birds import bird_at, render

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "your-own-model.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# What makes a command take seconds in place of hours; a page that shows it would teach it.
SMALL = {
    "t2i-train run": [
        *("--resolution", "32", "--stages", "16,32", "--stage-start", "0,0", "--width", "8"),
        *("--discriminator-width", "8", "--max-channels", "16", "--batch-size", "8"),
        *("--kimg", "0.032", "--caption-steps", "4", "--matcher-steps", "2", "--precision", "no"),
    ],
    "t2i-train data sheet": ["--resolution", "32"],
    "t2i-train matcher": ["--kimg", "0.6", "--resolution", "32"],
    "t2i-train eval": [
        *("--count", "8", "--subsets", "2", "--subset-size", "4", "--seeds", "1"),
        *("--variety-captions", "1", "--variety-pictures", "2"),
    ],
    "t2i-train compare": ["--sheet-captions", "2", "--sheet-seeds", "1"],
}
LEAVES = {
    "t2i-train data sheet": ["flowers-sheet.png"],
    "t2i-train run": ["runs/flowers"],
    "t2i-train matcher": ["flower-judge/config.json"],
    "t2i-train eval": ["look.png", "near.png"],
    "t2i-train compare": ["models.png"],
    "t2i generate": ["flowers.png"],
    "t2i batch": ["drawn"],
}
PROGRAMS = {"t2i": "t2i.cli", "t2i-train": "training.cli"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with `flowers/` and `captions.txt`."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "flowers"
    folder.mkdir()
    rows = []
    for index in range(40):
        bird, captions = bird_at("train", 0, index)
        Image.fromarray(render(bird, 32)).save(folder / f"{index:02}.png")
        split = "val" if index % 4 == 0 else "train"
        texts = [caption.text for caption in captions[:2]]
        rows.append({"file_name": f"{index:02}.png", "captions": texts, "split": split})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "captions.txt").write_text("a yellow flower\na red flower\n")
    return home


def test_the_page_has_the_whole_way() -> None:
    assert len(COMMANDS) >= 10 and len(EXAMPLES) == 1
    for start in (*SMALL, *LEAVES):
        assert any(command.startswith(start) for command in COMMANDS), start


# In the order of the page: each needs what those before it left.
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_the_page_says(command: str, home: Path) -> None:
    program, *arguments = shlex.split(command)
    for start, small in SMALL.items():
        if command.startswith(start):
            arguments += small
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "T2I_CACHE": str(home / "cache"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, "-m", PROGRAMS[program], *arguments],
        cwd=home, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for start, files in LEAVES.items():
        if command.startswith(start) and "--dry-run" not in command:
            assert all((home / file).exists() for file in files)


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_example_asks_a_service(
    code: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2I_ADDRESS", address)
    exec(compile(code, "example", "exec"), {"__name__": "example"})
    with Image.open("flower.png") as picture:
        assert picture.width == picture.height
