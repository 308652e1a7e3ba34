"""Jobs from and to a server that speaks the protocol of S3, through s3fs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from t2i.batch import BatchError, FolderBusy, Job, run_job
from t2i.batch import lease as lease_module
from t2i.batch.lease import lease
from t2i.batch.remote import RemoteStorage
from t2i.batch.storage import storage_of
from t2i.cli import main
from tests.t2i.batch.servers import OLD, SLOW, s3_served
from tests.t2i.batch.squares import Square, Squares, manifest, square, tree, write_rows
from tests.t2i.batch.stores import stored
from tests.t2i.small_bundle import LABELS, save_conditioned

pytest.importorskip("moto")
pytest.importorskip("s3fs")

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"text": f"bird {n}", "count": n % 3 + 1} for n in range(13)] + [{"text": ""}]
PICTURES = sum(row.get("count", 0) for row in ROWS)
BUCKET = "pictures"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """The file system of fsspec for a server that runs as long as the tests of this module."""
    with s3_served(BUCKET) as system:
        yield system


@pytest.fixture(autouse=True)
def quick(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(lease_module, "_LOOK_SECONDS", 0.05)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("texts") / "captions.jsonl", ROWS)


@pytest.fixture
def out(request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{abs(hash(request.node.name))}/out"


def job_of(source: Path | str, out: Path | str, **options: Any) -> Job:
    given = {"source": source, "input_format": "jsonl", "out": out, "rows_per_shard": 7}
    return Job(**{**given, **options})


def uploads(s3: Any) -> list[str]:
    """The objects that somebody has begun to upload in parts."""
    return sorted(upload["Key"] for upload in s3.list_multipart_uploads(BUCKET))


def check_clean(s3: Any, out: str) -> None:
    """Nothing is left but what a job is to leave."""
    assert uploads(s3) == []
    s3.invalidate_cache()
    names = [name.removeprefix(f"{out.removeprefix('s3://')}/") for name in s3.find(out)]
    assert [name for name in names if name.rpartition("/")[2].startswith(".")] == []


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_conditioned(tmp_path_factory.mktemp("bundles"), "digits")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"id": n, "label": LABELS[n % 4], "count": n % 2 + 1} for n in range(5)]
    return write_rows(
        tmp_path_factory.mktemp("labels") / "labels.jsonl", [*rows, {"label": "nobody"}]
    )


@pytest.mark.parametrize("form", ["webdataset", "folder", "parquet"])
def test_the_command_draws_from_a_bucket_to_a_bucket_what_it_draws_here(
    s3: Any, bundle: Path, labels: Path, tmp_path: Path, out: str, form: str
) -> None:
    texts = f"s3://{BUCKET}/{form}/captions.jsonl"
    s3.put_file(str(labels), texts)
    asked = ["--model", str(bundle), "--device=cpu", "--format", form, "--rows-per-shard=3"]
    here = CliRunner().invoke(main, ["batch", str(labels), "--out", str(tmp_path / "o"), *asked])
    far = CliRunner().invoke(main, ["batch", texts, "--out", out, *asked])
    assert (here.exit_code, far.exit_code) == (1, 1), far.output
    assert far.stdout.startswith(f"6 rows: 7 pictures in 2 shards in {out}, 1 could not be drawn")
    assert stored(out) == tree(tmp_path / "o")
    assert len(manifest(out)) == 7
    check_clean(s3, out)


def test_the_command_goes_on_at_a_bucket_refuses_another_job_and_begins_anew(
    s3: Any, bundle: Path, labels: Path, out: str
) -> None:
    asked = ["batch", str(labels), "--out", out, "--model", str(bundle), "--rows-per-shard=3"]
    first = CliRunner().invoke(main, asked)
    before = stored(out)
    again = CliRunner().invoke(main, [*asked, "--json"])
    assert json.loads(again.stdout)["drawn_pictures"] == 0
    changed = CliRunner().invoke(main, [*asked, "--seed=1"])
    assert changed.exit_code == 2 and "--seed was 0 and is 1" in changed.stderr
    assert (first.exit_code, stored(out)) == (1, before)
    anew = CliRunner().invoke(main, [*asked, "--seed=1", "--restart"])
    assert anew.exit_code == 1 and stored(out).keys() == before.keys()
    assert stored(out)["sheet.png"] != before["sheet.png"]
    check_clean(s3, out)


def test_killed_at_random_the_objects_are_those_of_an_undisturbed_run(
    s3: Any, source: Path, tmp_path: Path, out: str
) -> None:
    texts = f"{out}/../captions.jsonl".replace("out/../", "")
    s3.put_file(str(source), texts)
    doomed = ["tests.t2i.batch.doomed", texts, out, "webdataset", "2", "s3fs", "pyarrow.parquet"]
    done = subprocess.run(
        [sys.executable, "-m", *doomed], capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("2 0\n", "")
    assert list(tmp_path.iterdir()) == [], "what was killed is tidied up"
    summary = run_job(job_of(texts, out, rows_per_shard=4), Squares)
    assert (summary.drawn_pictures, summary.pictures, summary.failed) == (0, PICTURES, 1)
    run_job(job_of(source, tmp_path / "here", rows_per_shard=4), Squares)
    assert stored(out) == tree(tmp_path / "here")
    check_clean(s3, out)


LARGE = """
import sys
import s3fs.core
from t2i.batch import Job, run_job
from tests.t2i.batch.test_s3 import Large

s3fs.core.calculate_chunksize = lambda size, chunksize=None: 5 << 20
source, out = sys.argv[1:]
run_job(Job(source=source, input_format="jsonl", out=out, format="parquet"), Large)
"""


class Large(Squares):
    def draw(self, asks: Any) -> list[Square]:
        # What follows the end of a PNG file is passed over.
        return [Square(square(ask) + bytes(4 << 20)) for ask in asks]


def test_an_upload_in_parts_that_was_killed_is_given_up_by_the_next_run_and_no_other_is(
    s3: Any, tmp_path: Path
) -> None:
    out = f"s3://{BUCKET}/{SLOW}/out"
    other = s3.call_s3("create_multipart_upload", Bucket=BUCKET, Key=f"{SLOW}/out-of-others")
    source = write_rows(tmp_path / "c.jsonl", ROWS[:2])
    command = [sys.executable, "-c", LARGE, str(source), out]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)})
    shard = f"{SLOW}/out/shards/000000.parquet"
    while shard not in uploads(s3):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert uploads(s3) == [f"{SLOW}/out-of-others", shard]
    assert not s3.exists(f"s3://{BUCKET}/{shard}")

    def drawer() -> Large:
        assert uploads(s3) == [f"{SLOW}/out-of-others"], "before anything is drawn"
        return Large()

    again = job_of(source, out, rows_per_shard=1000, format="parquet")
    run_job(again, drawer)
    run_job(replace(again, out=tmp_path / "here"), Large)
    assert stored(out) == tree(tmp_path / "here")
    assert uploads(s3) == [f"{SLOW}/out-of-others"]
    s3.call_s3(
        "abort_multipart_upload",
        Bucket=BUCKET, Key=f"{SLOW}/out-of-others", UploadId=other["UploadId"],
    )  # fmt: skip
    check_clean(s3, out)


def test_of_many_who_create_the_lock_at_once_one_does(out: str) -> None:
    storage = storage_of(out)
    assert isinstance(storage, RemoteStorage)
    ready = threading.Barrier(8)

    def create(number: int) -> bool:
        ready.wait()
        return storage.create(".lock", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert sum(made) == 1
    assert storage.read(".lock") == str(made.index(True)).encode()


@pytest.mark.parametrize("folder", ["new", OLD])
def test_a_second_run_is_refused_while_the_first_is_at_work(
    source: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"s3://{BUCKET}/{folder}/out"
    inside, go = threading.Event(), threading.Event()

    def renewed(self: RemoteStorage, name: str) -> AbstractContextManager[Callable[[], None]]:
        return lease(self, name, renew=0.05, patience=5)

    monkeypatch.setattr(RemoteStorage, "locked", renewed)

    class Held(Squares):
        def draw(self, asks: Any) -> Any:
            inside.set()
            go.wait(30)
            return super().draw(asks)

    first = threading.Thread(target=run_job, args=[job_of(source, out), Held])
    first.start()
    assert inside.wait(30)
    try:
        with pytest.raises(FolderBusy, match=rf"{out}: another run .*process {os.getpid()} on"):
            run_job(job_of(source, out), Squares)
    finally:
        go.set()
        first.join()
    assert run_job(job_of(source, out), Squares).drawn_pictures == 0


def test_a_bucket_that_is_not_there_and_an_object_in_the_way_are_told_in_a_line(
    s3: Any, source: Path, bundle: Path
) -> None:
    s3.put_file(str(source), f"s3://{BUCKET}/told/captions.jsonl")
    asked = ["--model", str(bundle), "--device", "cpu"]

    def said(texts: Path | str, out: str) -> str:
        done = CliRunner().invoke(main, ["batch", str(texts), "--out", out, *asked])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        return done.stderr

    assert "s3://nowhere/out/.lock: There is no place for it (The specified bucket does not" in (
        said(source, "s3://nowhere/out")
    )
    missing = f"s3://{BUCKET}/told/nothing.jsonl"
    assert f"there is no file '{missing}'" in said(missing, f"s3://{BUCKET}/told/out")
    assert "is a file; give a folder" in said(source, f"s3://{BUCKET}/told/captions.jsonl")
    assert "holds 'captions.jsonl' and no batch job" in said(source, f"s3://{BUCKET}/told")


def test_without_a_server_the_job_ends_with_a_line(
    source: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()
    try:
        done = CliRunner().invoke(main, ["batch", str(source), "--out", f"s3://{BUCKET}/off"])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        assert f"s3://{BUCKET}/off: Could not connect to the endpoint URL" in done.stderr
    finally:
        kind.clear_instance_cache()


def test_an_input_in_a_bucket_that_changes_meanwhile_is_noticed(
    s3: Any, source: Path, tmp_path: Path
) -> None:
    texts = f"s3://{BUCKET}/changing/captions.jsonl"
    s3.put_file(str(source), texts)

    class Changing(Squares):
        def draw(self, asks: Any) -> Any:
            s3.pipe_file(texts, source.read_bytes() + b"\n")
            return super().draw(asks)

    with pytest.raises(BatchError, match=rf"{texts}: was changed while"):
        run_job(job_of(texts, tmp_path / "out"), Changing)


def test_rows_from_a_bucket_are_read_piece_by_piece(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i.batch.remote._FETCH_BYTES", 1 << 16)
    monkeypatch.setattr("t2i.batch.remote._BUFFER_BYTES", 1 << 12)
    rows = [{"id": n, "text": f"bird {n} " * 100} for n in range(400)]
    source = write_rows(tmp_path / "c.jsonl", rows)
    texts = f"s3://{BUCKET}/pieces/captions.jsonl"
    s3.put_file(str(source), texts)
    asked = job_of(texts, tmp_path / "far", rows_per_shard=100)
    run_job(asked, Squares)
    run_job(replace(asked, source=source, out=tmp_path / "here"), Squares)
    assert tree(tmp_path / "far") == tree(tmp_path / "here")
