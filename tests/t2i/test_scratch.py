from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from t2i.scratch import Scratch

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_goes_when_it_is_closed(tmp_path: Path) -> None:
    scratch = Scratch("t2i-try-", tmp_path)
    (scratch.path / "large").write_bytes(b"x")
    assert scratch.path.stat().st_mode & 0o777 == 0o700
    scratch.close()
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_when_the_next_one_is_made(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from t2i.scratch import Scratch; "
        "made = Scratch('t2i-try-', pathlib.Path(sys.argv[1])); print(made.path, flush=True); "
        "time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    of_another = Path(process.stdout.readline().strip())
    mine, foreign = Scratch("t2i-try-", tmp_path), tmp_path / "t2i-try-foreign"
    foreign.mkdir()
    assert of_another.is_dir(), "its process lives"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    another = Scratch("t2i-try-", tmp_path)
    assert set(tmp_path.iterdir()) == {mine.path, another.path, foreign}
    mine.close()
    another.close()
