"""Jobs on a real Ray: one of this machine, which the tests start, and whose processes they kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from t2i.batch import (
    BatchError,
    Job,
    PipelineDrawer,
    Plan,
    RayDrawer,
    ShardTask,
    Summary,
    run_job,
)
from t2i.batch import ray_drawer as module
from t2i.batch.plan import Shard
from t2i.batch.ray_drawer import _Progress
from t2i.batch.ray_worker import Fault, Order, Told, Worker
from t2i.batch.records import Record
from t2i.errors import InvalidInput
from t2i.extras import ExtraMissing
from t2i.parcels import pack
from t2i.ray_cluster import RayCluster
from tests.t2i.batch.servers import s3_served
from tests.t2i.batch.squares import BIRDS, manifest, tree, write_rows
from tests.t2i.batch.stores import stored
from tests.t2i.small_bundle import save_conditioned

pytest.importorskip("ray")
pytest.importorskip("moto")
pytest.importorskip("s3fs")

ROOT = Path(__file__).resolve().parents[3]

ROWS = [{"id": n, "label": n % 4, "count": 8 + n % 3} for n in range(12)]
PICTURES = sum(row["count"] for row in ROWS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # It reads no text: workers are there soon.
    return save_conditioned(tmp_path_factory.mktemp("bundles"), "digits")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket that this process and the Ray that it starts find."""
    with s3_served("pictures"):
        yield "s3://pictures"


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[RayCluster]:
    # Other tests may have processes too, such as what multiprocessing keeps.
    before, others = environment(), set(psutil.Process().children(recursive=True))
    cluster = RayCluster.usual(None, cores=2)
    cluster.join()
    processes = set(psutil.Process().children(recursive=True)) - others
    scratch = cluster._scratch
    assert processes
    assert scratch is not None
    yield cluster
    cluster.close()
    _, left = psutil.wait_procs(processes, timeout=120)
    assert left == [], "a Ray that was started here ends"
    assert not scratch.path.exists()
    assert environment() == before


def environment() -> dict[str, str]:
    # Ray's import sets the two others.
    others = ("RAY_CLIENT_MODE", "PYTHONBREAKPOINT", "PYTEST_CURRENT_TEST")
    return {name: value for name, value in os.environ.items() if name not in others}


@pytest.fixture(scope="module")
def drawer(cluster: RayCluster, bundle: Path) -> Iterator[RayDrawer]:
    drawer = RayDrawer(str(bundle), "cpu", workers=1)
    yield drawer
    drawer.close()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("jobs")
    source = write_rows(folder / "c.jsonl", [*ROWS, {"label": "nobody"}])
    return Job(source=source, input_format="jsonl", out=folder / "there", rows_per_shard=3)


@pytest.fixture(scope="module")
def here(job: Job, bundle: Path) -> Path:
    """What the process of the tests draws of the job."""
    out = job.source.parent / "here"
    run_job(replace(job, out=out), lambda: PipelineDrawer.load(str(bundle), "cpu"))
    return out


def drafts(out: Path) -> list[Path]:
    return [path for path in (out / "shards").glob(".*") if path.name.endswith(".tmp")]


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def kill_at_work(pids: list[int], out: Path) -> None:
    """Kill processes while a shard of theirs is half written."""
    while True:
        with stopped(pids):
            if drafts(out):
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                return
        time.sleep(0.01)


def check(summary: Summary, out: Path, here: Path) -> None:
    """Exactly the rows of the input, and the files of a process that nobody disturbed."""
    assert (summary.rows, summary.failed, summary.pictures) == (13, 1, PICTURES)
    assert [(told["row"], told["index"]) for told in manifest(out)] == [
        (n + 1, index) for n, row in enumerate(ROWS) for index in range(row["count"])
    ]
    assert tree(out) == tree(here), "nor is there a draft of anybody who was killed"


class Watch:
    def __init__(self) -> None:
        self.rows = self.pictures = 0
        self.shards: list[int] = []

    def begin(self, rows: int) -> None:
        assert rows == 13

    def found(self, report: object) -> None:
        raise AssertionError("nothing was there")

    def drawn(self, rows: int, pictures: int) -> None:
        assert rows >= 0 and pictures >= 0
        self.rows += rows
        self.pictures += pictures

    def finished(self, report: object) -> None:
        self.shards.append(report.shard)


def test_a_ray_of_our_own_listens_on_this_machine_only(cluster: RayCluster) -> None:
    listening = [
        connection.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_killed_workers_leave_what_an_undisturbed_process_draws(
    cluster: RayCluster, bundle: Path, job: Job, here: Path
) -> None:
    killed: list[int] = []

    def opened() -> RayDrawer:
        drawer = RayDrawer(str(bundle), "cpu", workers=2)
        killed.extend(pid for _, pid in drawer.pids)
        threading.Thread(target=kill_at_work, args=[killed, job.out], daemon=True).start()
        return drawer

    watch = Watch()
    summary = run_job(job, opened, progress=watch)
    assert killed and not any(psutil.pid_exists(pid) for pid in killed)
    check(summary, job.out, here)
    assert (watch.rows, watch.pictures) == (13, PICTURES), "nothing is told twice"
    assert sorted(watch.shards) == [0, 1, 2, 3, 4]


def plan_of(drawer: RayDrawer) -> tuple[Plan, Shard]:
    plan = Plan(model=drawer.model, input_format="text", count=8)
    return plan, Shard(0, (Record(1, 1, b"one"), Record(2, 2, b"two")))


def test_a_folder_that_workers_do_not_find_is_told(drawer: RayDrawer) -> None:
    with pytest.raises(BatchError, match="as this machine sees it; give an --out that all machi"):
        drawer.draw_shard(ShardTask(*plan_of(drawer), "memory://only-here"))
    drawer._marked = None


def test_a_worker_writes_to_a_bucket_what_it_writes_to_a_folder(
    drawer: RayDrawer, bucket: str, tmp_path: Path
) -> None:
    plan, shard = plan_of(drawer)
    for out in (f"{bucket}/out", tmp_path):
        report = drawer.draw_shard(ShardTask(plan, shard, out))
        assert (report.rows, report.pictures, report.failed) == (2, 16, 0)
        assert drawer._marked is not None
        drawer._marked.remove(drawer._mark)
        drawer._marked = None
    assert stored(f"{bucket}/out") == tree(tmp_path)
    assert tree(tmp_path).keys() == {"records/000000.jsonl", "shards/000000.tar"}


def test_what_a_worker_cannot_write_is_told_with_its_machine(
    drawer: RayDrawer, tmp_path: Path
) -> None:
    (tmp_path / "records").write_text("in the way")
    with pytest.raises(OSError, match=f"on {socket.gethostname()}") as told:
        drawer.draw_shard(ShardTask(*plan_of(drawer), tmp_path))
    assert told.value.filename == str(tmp_path / "records")
    drawer._marked = None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checksum": "ab" * 32}, "has another digits"),
        ({"versions": {"t2i": "0.0.1"}}, "has t2i 0.0.1, and .* is what runs here"),
    ],
)
def test_workers_with_another_model_or_version_are_refused(
    drawer: RayDrawer, change: dict[str, object], said: str
) -> None:
    (member,) = drawer._team
    drawer._compare(member.ready)
    with pytest.raises(BatchError, match=f"^worker on {member.ready.host}: {said}"):
        drawer._compare(replace(member.ready, **change))


def test_a_shard_that_costs_every_worker_its_life_ends_the_job(
    drawer: RayDrawer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOSSES", 1)
    plan, shard = plan_of(drawer)
    out = tmp_path / "out"
    ((_, pid),) = drawer.pids
    threading.Thread(target=kill_at_work, args=[[pid], out], daemon=True).start()
    with pytest.raises(BatchError, match="shard 000000: its worker was lost 1 times in a row"):
        drawer.draw_shard(ShardTask(replace(plan, count=64), shard, out))
    drawer._marked = None


def test_a_job_that_is_interrupted_ends_its_workers_and_leaves_no_drafts(
    drawer: RayDrawer, job: Job, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    begun: list[Path] = []

    class Interrupts(Watch):
        def begin(self, rows: int) -> None:
            assert rows == 8

        def drawn(self, rows: int, pictures: int) -> None:
            # The worker is far from the end of its shard.
            assert 0 < pictures < 2000
            begun.extend(drafts(out))
            raise KeyboardInterrupt

    long = write_rows(tmp_path / "c.jsonl", [{"label": n % 4, "count": 1024} for n in range(8)])
    with pytest.raises(KeyboardInterrupt):
        run_job(replace(job, source=long, out=out), lambda: drawer, progress=Interrupts())
    assert drawer.pids == [] and begun
    assert {path.name for path in out.rglob("*")} == {".lock", "job.json", "records", "shards"}


def test_an_address_is_not_passed_over_by_who_has_a_ray_already(
    cluster: RayCluster, bundle: Path
) -> None:
    with pytest.raises(BatchError, match=r"^Ray at auto: .* connected to a Ray already"):
        RayDrawer(str(bundle), "cpu", address="auto")
    assert cluster.alive


def test_a_worker_checks_the_bundle_that_it_was_sent_and_keeps_nothing_of_it(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("t2i.compute.limit_cores", lambda count: None)
    parcel = pack(str(bundle))
    worker = Worker()
    ready = worker.load(Order("cpu"), parcel)
    assert not isinstance(ready, Fault) and ready.checksum and ready.pid == os.getpid()
    (scratch,) = tmp_path.iterdir()
    assert [path.name for path in scratch.iterdir()] == ["lock"]
    worker.stop()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parcel.files["generator.safetensors"][-1] ^= 1
    worker = Worker()
    fault = worker.load(Order("cpu"), parcel)
    worker.stop()
    assert isinstance(fault, Fault) and fault.host == socket.gethostname()
    assert f"bundle {bundle}: generator.safetensors is damaged" in str(fault.error)


def test_progress_tells_of_no_row_twice_when_a_shard_is_drawn_again() -> None:
    told: list[tuple[int, int]] = []
    plan, shard = Plan(model=BIRDS, input_format="text"), Shard(7, ())
    progress = _Progress(ShardTask(plan, shard, "out", lambda *each: told.append(each)))
    for heard in (Told(6, 9, 9), Told(7, 0, 0), Told(7, 2, 5), Told(7, 1, 3), Told(7, 2, 6)):
        progress.hear(heard)
    progress.reach(4, 8)
    assert told == [(2, 5), (0, 1), (2, 2)]


def test_without_ray_the_extra_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExtraMissing, match=r"pip install 't2i\[ray\]', or draw without --engine"):
        RayDrawer(str(bundle))


def test_a_number_of_workers_that_is_none_is_refused(bundle: Path) -> None:
    with pytest.raises(InvalidInput, match="ray-workers: 0 is out of range"):
        RayDrawer(str(bundle), workers=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_node_leaves_what_an_undisturbed_process_draws(
    bundle: Path, job: Job, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster as Nodes

    # Workers yield to everything else by default, which on a busy machine is everything.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = nodes.add_node(num_cpus=1)
        out, gone = tmp_path / "out", threading.Event()

        def kill_a_node() -> None:
            while not drafts(out):
                time.sleep(0.002)
            nodes.remove_node(node, allow_graceful=False)
            gone.set()

        def opened() -> RayDrawer:
            drawer = RayDrawer(str(bundle), "cpu", address=nodes.address)
            assert drawer.shards_at_once == 2
            while len(drawer.pids) < 2:
                time.sleep(0.01)
            threading.Thread(target=kill_a_node, daemon=True).start()
            return drawer

        summary = run_job(replace(job, out=out), opened)
        assert gone.wait(120)
        check(summary, out, here)
    finally:
        nodes.shutdown()


TOKEN = "ab" * 32


@contextmanager
def head(folder: Path) -> Iterator[tuple[psutil.Process, int, dict[str, str]]]:
    """A Ray as `ray start` makes it: its process, its port for clients, and how they get in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    named = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    # It is all of its cluster, and listens on this machine only.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    quiet |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONPATH": str(ROOT)}
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port=0",
        f"--ray-client-server-port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2",
        "--include-dashboard=false", "--object-store-memory=134217728", f"--temp-dir={folder}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = psutil.Popen(
            command, env={**environment(), **named, **quiet}, stdout=log, stderr=log
        )
    processes: list[psutil.Process] = []
    try:
        while "Ray runtime started" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield process, port, named
    finally:
        processes = [process, *process.children(recursive=True)]
        process.terminate()
        _, left = psutil.wait_procs(processes, timeout=30)
        for each in left:
            each.kill()
        psutil.wait_procs(left, timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_that_this_machine_does_not_belong_to_draws_what_a_process_here_does(
    bundle: Path, job: Job, here: Path, tmp_path: Path
) -> None:
    # Of the names of Ray's sockets no more than forty characters may be the folder's.
    with (
        tempfile.TemporaryDirectory(prefix="t2i-ray-", dir="/tmp") as scratch,
        head(Path(scratch)) as (ray, port, named),
    ):
        out = tmp_path / "out"

        def run(**changes: str) -> subprocess.Popen[str]:
            command = [
                sys.executable, "-c", "from t2i.cli import main; main()", "batch",
                str(job.source), "--out", str(out), "--model", str(bundle), "--device=cpu",
                "--rows-per-shard=3", "--engine=ray", "--ray-workers=1",
                f"--ray-address=ray://127.0.0.1:{port}",
            ]  # fmt: skip
            return subprocess.Popen(
                command, env=environment() | changes, cwd=ROOT, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip

        def workers(there: subprocess.Popen[str]) -> list[int]:
            assert there.poll() is None, there.communicate()
            children = ray.children(recursive=True)
            return [each.pid for each in children if each.name().startswith("ray::Worker")]

        for mode, token in (("disabled", ""), ("token", TOKEN[::-1])):
            stranger = run(RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN=token)
            said = stranger.communicate(timeout=200)[1]
            assert stranger.returncode == 2, said
            assert "asks for its token; set RAY_AUTH_MODE" in said.splitlines()[-1]
        interrupted = run(**named)
        while not drafts(out):
            assert interrupted.poll() is None, interrupted.communicate()
            time.sleep(0.01)
        interrupted.send_signal(signal.SIGINT)
        said = interrupted.communicate(timeout=200)[1]
        assert interrupted.returncode == 2 and "interrupted; finished shards are kept" in said
        assert not drafts(out) and not (out / "manifest.parquet").exists()
        again = run(**named)
        while not (lost := workers(again)):
            time.sleep(0.02)
        kill_at_work(lost, out)
        told = again.communicate(timeout=300)
        assert again.returncode == 1, told
        assert told[0].startswith(f"13 rows: {PICTURES} pictures in 5 shards")
        assert tree(out) == tree(here)
