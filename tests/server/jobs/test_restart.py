"""A server that is killed in the middle of a job, as its callers see it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from t2i.batch import Job, PipelineDrawer, run_job
from t2i.client import BatchJob, Client
from t2i.pipeline import Pipeline
from tests.server.jobs.folders import Places, birds, tree

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def port_file(tmp_path: Path) -> Path:
    return tmp_path / "port"


@pytest.fixture
def start(bundle: Path, places: Places, port_file: Path) -> Iterator[Start]:
    """Starts servers on one port, one after the other."""
    with ExitStack() as stack:

        def begin() -> subprocess.Popen[bytes]:
            port = port_file.read_text().strip() if port_file.exists() else "0"
            server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "server.cli", "--model", str(bundle)),
                    *("--device", "cpu", "--address", f"127.0.0.1:{port}"),
                    *("--port-file", str(port_file), "--jobs", str(places.jobs)),
                    *("--jobs-input-root", str(places.inputs)),
                    *("--jobs-output-root", str(places.outputs)),
                ],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            stack.callback(server.wait)
            stack.callback(server.kill)
            return server

        yield begin


def test_a_server_killed_in_a_job_finishes_it_after_its_restart_and_watch_sees_the_end(
    start: Start, places: Places, port_file: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    places.write("birds.jsonl", birds(160))
    first = start()
    while not port_file.exists():
        time.sleep(0.02)
    seen: list[BatchJob] = []
    under_way = threading.Event()
    with Client(f"127.0.0.1:{port_file.read_text().strip()}", timeout=60, max_retries=99) as client:
        job = client.batches.create("birds.jsonl", "birds", rows_per_shard=4, seed=7)

        def watch() -> None:
            for change in client.batches.watch(job, patience=120):
                seen.append(change)
                if change.completed_shards:
                    under_way.set()

        watching = threading.Thread(target=watch)
        watching.start()
        assert under_way.wait(60)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        at_kill = len(list((places.outputs / "birds" / "records").glob("0*.jsonl")))
        assert 0 < at_kill < 40
        assert not (places.outputs / "birds" / "manifest.parquet").exists()
        start()
        watching.join(120)
        assert not watching.is_alive()
        assert seen[-1] == client.batches.get(job)
    end = seen[-1]
    assert (end.state, end.total_rows, end.completed_rows) == ("succeeded", 160, 160)
    assert (end.completed_shards, end.failed_rows, end.failures) == (
        40,
        2,
        "birds/failures.jsonl",
    )
    # What was done was not done again, nor told as undone.
    assert all(a.completed_shards <= b.completed_shards for a, b in pairwise(seen))
    undisturbed = Job(
        source=places.inputs / "birds.jsonl",
        input_format="jsonl",
        out=tmp_path / "undisturbed",
        rows_per_shard=4,
        seed=7,
    )
    run_job(undisturbed, lambda: PipelineDrawer(pipeline))
    assert tree(places.outputs / "birds") == tree(tmp_path / "undisturbed")
