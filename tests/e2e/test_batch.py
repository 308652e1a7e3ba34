"""Batch jobs by the real command, here and on a real server; docs/batch.md, run as it stands."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from t2i.batch.formats import INPUT_FORMATS
from t2i.batch.parquet import is_installed
from t2i.batch.rows import FIELDS
from t2i.cli import main as t2i_main
from tests.t2i.batch.squares import manifest, tree, write_rows
from tests.t2i.batch.squares import told as told_lines
from training.cli import main as train_main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "batch.md"
TEXT = PAGE.read_text("utf-8")
COLOURS = ("red", "blue", "brown", "yellow", "black")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "t2i.cli", "batch", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def stopped(arguments: list[str], out: Path, end: signal.Signals) -> tuple[int, str]:
    """Stop a job as soon as it has done something, and there is something to lose."""
    before = len(list(out.glob("records/0*")))
    process = subprocess.Popen(
        arguments,
        env=environment(),
        cwd=out.parent,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background of a shell ignores Ctrl-C, and all below with it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while len(list(out.glob("records/0*"))) <= before:
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.001)
    process.send_signal(end)
    _, said = process.communicate()
    return process.returncode, said


def test_the_command_draws_the_same_files_here_there_and_when_stopped(
    address: str, bundle: Path, tmp_path: Path
) -> None:
    # Enough that a machine of any speed is still at it when the signal comes.
    asked = 300
    rows = [{"text": f"bird {n % 7}", "count": n % 3 + 1} for n in range(asked)]
    source = write_rows(tmp_path / "c.jsonl", [*rows, {"text": ""}])
    here, there = tmp_path / "here", tmp_path / "there"
    options = ("--rows-per-shard", "6", "--model")
    for end in (signal.SIGINT, signal.SIGKILL):
        code, said = stopped(command(source, "--out", here, *options, bundle), here, end)
        if end == signal.SIGINT:
            assert code == 2 and said.startswith("Error: interrupted; finished shards are kept")
    assert not list(here.glob("manifest.*"))
    jobs = [
        (here, bundle, ()),
        (there, "untrained", ("--server", address)),
    ]
    for out, model, more in jobs:
        done = subprocess.run(
            command(source, "--out", out, *options, model, *more, "--json"),
            env=environment(), cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["rows"], summary["failed"]) == (asked + 1, 1)
        assert summary["pictures"] == 2 * asked
    assert tree(here) == tree(there)
    names = []
    for path in sorted((here / "shards").iterdir()):
        with tarfile.open(path) as tar:
            names += [name for name in tar.getnames() if name.endswith(".png")]
    assert names == [
        f"{row:09d}-{index:04d}.png"
        for row in range(1, asked + 1)
        for index in range((row - 1) % 3 + 1)
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_twenty_times_the_bundled_model_leaves_what_an_undisturbed_run_leaves(
    tmp_path: Path,
) -> None:
    # Enough that a machine of any speed is still at it when it is killed.
    asked = 3000
    rows = [
        {"text": f"a small {COLOURS[n % 5]} bird {n}", "count": n % 2 + 1} for n in range(asked)
    ]
    faulty = set(range(37, asked, 100))
    source = write_rows(
        tmp_path / "c.jsonl", [{"text": ""} if n in faulty else row for n, row in enumerate(rows)]
    )
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    chance = random.Random(20)
    for kill in range(20):
        before = len(list(out.glob("records/0*")))
        # Some runs are killed while they load, the others when they have finished some shards.
        shards = chance.randrange(4)
        moment = chance.uniform(0, 0.1) if shards else chance.uniform(0, 6)
        process = subprocess.Popen(
            command(source, "--out", out, "--rows-per-shard", "4"),
            env=environment(), cwd=tmp_path, stderr=subprocess.PIPE,
        )  # fmt: skip
        while len(list(out.glob("records/0*"))) < before + shards:
            assert process.poll() is None, f"it ended before kill {kill + 1}"
            time.sleep(0.002)
        time.sleep(moment)
        assert process.poll() is None, f"it ended before kill {kill + 1}"
        process.kill()
        process.communicate()
    at_last_kill = len(list(out.glob("records/0*")))
    assert 20 < at_last_kill < asked // 4
    for folder in (out, undisturbed):
        done = subprocess.run(
            command(source, "--out", folder, "--rows-per-shard", "4"),
            env=environment(), cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
    pictures = [(told["row"], told["index"]) for told in manifest(out)]
    assert pictures == [
        (n + 1, index) for n, row in enumerate(rows) if n not in faulty
        for index in range(row["count"])
    ]  # fmt: skip
    assert {failure["row"] - 1 for failure in told_lines(out / "failures.jsonl")} == faulty
    assert tree(out) == tree(undisturbed)


def test_a_full_disk_is_said_in_one_line_and_the_same_command_goes_on(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"bird {n % 7}", "count": 2} for n in range(24)]
    rows[20]["text"] = f"a bird {'with a long tail ' * 20}"
    write_rows(tmp_path / "c.jsonl", rows)
    asked = ["batch", "c.jsonl", "--out", "out", "--rows-per-shard", "4", "--model", str(bundle)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    CliRunner().invoke(t2i_main, [*asked[:3], "whole", *asked[4:]])
    sizes = [path.stat().st_size for path in (tmp_path / "whole" / "shards").iterdir()]
    # The kernel stops a write beyond what the usual shards need.
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) - 1, limits[1]))
    try:
        full = CliRunner().invoke(t2i_main, asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.exit_code == 2 and full.stdout == ""
    assert full.stderr.splitlines()[-1].endswith(
        "File too large; finished shards are kept in out, and the same command goes on when that "
        "is put right"
    )
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".tmp")]
    again = CliRunner().invoke(t2i_main, asked)
    assert again.exit_code == 0, again.output
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the inputs that the page shows."""
    monkeypatch.chdir(tmp_path)
    inputs = re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)```", TEXT, flags=re.M | re.S)
    for name, content in inputs:
        (tmp_path / name).write_text(content, "utf-8")
    assert len(inputs) == 2
    return tmp_path


def test_every_command_of_the_page_does_what_the_page_says(laid_out: Path, address: str) -> None:
    # Those of jobs need a server that runs jobs: see tests/server/jobs.
    lines = [line for block in blocks("sh") for line in block.splitlines() if " jobs " not in line]
    assert len(lines) == 10
    for line in lines:
        words, _, remark = line.partition("  # ")
        left, _, right = words.rpartition(" | ")
        arguments = shlex.split(right.replace("127.0.0.1:50051", address))
        main = {"t2i": t2i_main, "t2i-train": train_main}[arguments.pop(0)]
        data = Path(left.removeprefix("cat ")).read_bytes() if left else None
        done = CliRunner().invoke(main, arguments, input=data)
        code = re.search(r"exit code (\d)", remark)
        assert done.exit_code == int(code[1] if code else 0), (line, done.output)
    (listed,) = blocks("files")
    if not is_installed():
        listed = listed.replace("manifest.parquet", "manifest.jsonl")
    files = {path.relative_to(laid_out).as_posix() for path in (laid_out / "birds").rglob("*")}
    assert set(listed.split()) == {f for f in files if Path(f).is_file()} - {"birds/.lock"}
    (failures,) = blocks("failures")
    assert (laid_out / "flawed" / "failures.jsonl").read_text() == failures


def test_the_python_of_the_page_runs(laid_out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The other one needs a server that runs jobs: see tests/server/jobs.
    (code,) = [code for code in blocks("python") if "Client" not in code]
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("6 from-python/manifest.")


def test_the_page_names_every_column_every_input_format_and_every_shard_format() -> None:
    goes_in = TEXT[TEXT.index("## What goes in") : TEXT.index("## What comes out")]
    formats, columns = goes_in.split("| column |")
    assert tuple(re.findall(r"^\| `(\w+)`", columns, flags=re.M)) == FIELDS
    assert tuple(re.findall(r"^\| [^|]+ \| `(\w+)`", formats, flags=re.M)) == INPUT_FORMATS
    comes_out = TEXT[TEXT.index("| `--format` |") : TEXT.index("## When it is")]
    assert re.findall(r"^\| `(\w+)` \|", comes_out, flags=re.M) == [
        "webdataset", "folder", "parquet",
    ]  # fmt: skip
