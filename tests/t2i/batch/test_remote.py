"""Jobs from and to addresses of fsspec: memory://, file://, an object store, a far file system."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from t2i.batch import BatchError, FolderBusy, Job, JobChanged, Summary, run_job
from t2i.batch import lease as lease_module
from t2i.batch.lease import lease
from t2i.batch.remote import RemoteStorage
from t2i.batch.storage import file_of, storage_of, write
from t2i.errors import InvalidInput, T2IError
from t2i.extras import ExtraMissing
from tests.t2i.batch.squares import Squares, manifest, tree, write_rows
from tests.t2i.batch.stores import Bucket, register, stored
from tests.t2i.client.faulty_service import Service, serving

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"text": f"bird {n}", "count": n % 3 + 1} for n in range(30)] + [{"text": ""}]
PICTURES = sum(row.get("count", 0) for row in ROWS)
KINDS = ("memory", "file", "bucket", "drive")
FORMATS = ("webdataset", "folder", "parquet")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    register()
    monkeypatch.setattr(lease_module, "_SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(lease_module, "_LOOK_SECONDS", 0.05)
    yield
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "captions.jsonl", ROWS)


@pytest.fixture
def address(tmp_path: Path) -> Callable[[str], str]:
    return lambda kind: "memory://jobs/out" if kind == "memory" else f"{kind}://{tmp_path}/far/out"


@pytest.fixture
def run(source: Path) -> Callable[..., Summary]:
    def run(out: str | Path, model: Squares | None = None, **options: Any) -> Summary:
        given = {"source": source, "input_format": "jsonl", "out": out, "rows_per_shard": 7}
        return run_job(Job(**{**given, **options}), lambda: model or Squares())

    return run


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_files_at_an_address_are_those_of_a_folder(
    run: Callable[..., Summary], address: Any, tmp_path: Path, kind: str, form: str
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    out = address(kind)
    summary = run(out, format=form)
    run(tmp_path / "here", format=form)
    assert stored(out) == tree(tmp_path / "here")
    assert (summary.pictures, summary.failed, summary.drawn_pictures) == (PICTURES, 1, PICTURES)
    if kind != "file":
        assert summary.out == out and str(summary.manifest).startswith(f"{out}/manifest.")
        assert (summary.failures, summary.sheet) == (f"{out}/failures.jsonl", f"{out}/sheet.png")
    assert len(manifest(out)) == PICTURES
    # Nothing else is left anywhere, and nobody is kept out.
    assert ".lock" not in storage_of(out).names() or kind == "file"
    again = run(out, Squares(), format=form)
    assert again.drawn_pictures == 0 and again.manifest == summary.manifest
    assert stored(out) == tree(tmp_path / "here")


@pytest.mark.parametrize("form", ["webdataset", "folder"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_draws_what_is_missing_and_a_restart_everything(
    run: Callable[..., Summary], address: Any, kind: str, form: str
) -> None:
    out = address(kind)
    run(out, format=form)
    before, storage = stored(out), storage_of(out)
    storage.remove("records/000001.jsonl")
    storage.remove("shards/000003" + (".tar" if form == "webdataset" else ""))
    with write(storage, "records/000004.jsonl") as file:
        file.write(b"damaged")
    assert 0 < run(out, format=form).drawn_pictures < PICTURES
    assert stored(out) == before
    with pytest.raises(JobChanged, match=r"--seed was 0 and is 1.*--restart") as caught:
        run(out, format=form, seed=1)
    assert str(storage.place()) in str(caught.value) and stored(out) == before
    assert run(out, format=form, seed=1, restart=True).drawn_pictures == PICTURES
    assert stored(out).keys() == before.keys()
    assert all(stored(out)[name] != data for name, data in before.items() if "shards/" in name
               and name.endswith((".png", ".tar")))  # fmt: skip


@pytest.mark.parametrize("kind", ["memory", "bucket", "drive"])
def test_what_is_no_job_is_left_alone(run: Callable[..., Summary], address: Any, kind: str) -> None:
    out = address(kind)
    with write(storage_of(out), "holiday.png") as file:
        file.write(b"dear")
    for restart in (False, True):
        with pytest.raises(BatchError, match=r"'holiday\.png'.*empty folder"):
            run(out, restart=restart)
    with pytest.raises(BatchError, match="is a file; give a folder"):
        run(f"{out}/holiday.png")
    assert stored(out) == {"holiday.png": b"dear"}


@pytest.mark.parametrize("kind", ["memory", "bucket", "drive"])
def test_two_runs_at_one_address_are_refused(
    run: Callable[..., Summary], address: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = address(kind)
    inside, go = threading.Event(), threading.Event()
    monkeypatch.setattr(RemoteStorage, "locked", lambda self, name: lease(self, name, renew=0.05,
                                                                          patience=5))  # fmt: skip

    class Held(Squares):
        def draw(self, asks: Any) -> Any:
            inside.set()
            go.wait(30)
            return super().draw(asks)

    first = threading.Thread(target=run, args=[out, Held()])
    first.start()
    assert inside.wait(30)
    try:
        began = time.monotonic()
        with pytest.raises(FolderBusy, match=rf"{out}: another run .*process {os.getpid()} on"):
            run(out)
        assert time.monotonic() - began < 4, "a holder that lives is seen at its next renewal"
    finally:
        go.set()
        first.join()
    assert run(out).drawn_pictures == 0


class Held:
    """What somebody left in the place of a lock."""

    def __init__(self, out: str, told: object) -> None:
        self.storage = storage_of(out)
        assert isinstance(self.storage, RemoteStorage)
        self.storage.replace(".lock", json.dumps(told).encode())


def test_the_lock_of_a_process_of_this_machine_that_is_dead_is_taken_at_once(
    run: Callable[..., Summary], address: Any
) -> None:
    out = address("memory")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    told = {**lease_module._process(), "pid": process.pid, "token": "x", "who": "somebody"}
    told["began"] = lease_module._began(process.pid)
    assert not lease_module._has_ended(told)
    process.kill()
    while lease_module._began(process.pid) is not None:
        time.sleep(0.001)
    assert lease_module._has_ended(told), "though nobody has waited for it yet"
    process.wait()
    assert lease_module._has_ended(told)
    Held(out, told)
    began = time.monotonic()
    assert run(out).drawn_pictures == PICTURES
    assert time.monotonic() - began < 10


def test_a_process_of_another_machine_is_never_taken_for_dead() -> None:
    told = {**lease_module._process(), "on": "another machine"}
    assert not lease_module._has_ended(told | {"pid": 999_999_999})
    assert not lease_module._has_ended({}) and not lease_module._has_ended({"on": None, "pid": 1})


def test_a_lock_that_nobody_renews_is_taken_over_and_one_that_is_renewed_is_not(
    address: Any,
) -> None:
    out = address("memory")
    told = {"who": "process 7 on elsewhere", "token": "x", "beat": 0}
    storage = Held(out, told).storage
    began = time.monotonic()
    with lease(storage, ".lock", patience=0.3) as check:
        assert time.monotonic() - began > 0.3
        check()
    assert storage.names() == frozenset()
    Held(out, told)
    renewing = threading.Timer(0.1, lambda: Held(out, told | {"beat": 1}))
    renewing.start()
    with (
        pytest.raises(FolderBusy, match="process 7 on elsewhere"),
        lease(storage, ".lock", patience=1.5),
    ):
        pass
    renewing.join()
    assert json.loads(storage.read(".lock"))["beat"] == 1, "it stays its holder's"


def test_of_two_that_see_no_lock_one_makes_it_where_the_store_can_decide_and_else_who_is_first(
    address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_of(address("bucket"))
    assert isinstance(storage, RemoteStorage)
    assert storage.create(".lock", b"first")
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "exists", lambda self, path, **others: False)
        assert not storage.create(".lock", b"second")
    pipe = Bucket.pipe_file

    def careless(self: Bucket, path: str, value: bytes, **others: Any) -> None:
        pipe(self, path, value)

    monkeypatch.setattr(Bucket, "pipe_file", careless)
    assert not storage.create(".lock", b"second")
    assert storage.read(".lock") == b"first"


def test_a_lock_that_is_just_being_written_is_read_again(
    address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = address("memory")
    storage = Held(out, {"who": "process 7 on elsewhere", "token": "x", "beat": 0}).storage
    read, halves = RemoteStorage.read, [b'{"who": "pro', b""]

    def half(self: RemoteStorage, name: str) -> bytes:
        return halves.pop() if halves else read(self, name)

    Held(out, {"who": "process 7 on elsewhere", "token": "x", "beat": 1})
    monkeypatch.setattr(RemoteStorage, "read", half)
    assert lease_module._Lock(storage, ".lock")._read() == json.loads(read(storage, ".lock"))


def test_a_lock_is_renewed_and_left_to_whoever_took_it(address: Any) -> None:
    storage = storage_of(address("bucket"))
    with lease(storage, ".lock", renew=0.02) as check:
        first = storage.read(".lock")
        while storage.read(".lock") == first:
            time.sleep(0.005)
        check()
        Held(storage.place(), {"who": "a thief", "token": "y"})
        end = time.monotonic() + 20
        with pytest.raises(FolderBusy, match="a thief"):
            while time.monotonic() < end:
                check()
                time.sleep(0.005)
    assert json.loads(storage.read(".lock"))["who"] == "a thief"


def test_a_run_that_lost_its_lock_stops_and_writes_no_manifest(
    run: Callable[..., Summary], address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = address("bucket")
    monkeypatch.setattr(RemoteStorage, "locked", lambda self, name: lease(self, name, renew=0.02))

    class Robbed(Squares):
        def draw(self, asks: Any) -> Any:
            Held(out, {"who": "a thief", "token": "y"})
            time.sleep(0.1)
            return super().draw(asks)

    model = Robbed()
    with pytest.raises(FolderBusy, match="a thief"):
        run(out, model)
    assert 0 < len(model.asked) < PICTURES, "it does not go on to the end first"
    assert not {name for name in stored(out) if name.startswith("manifest")}


@pytest.mark.parametrize(
    ("kind", "form"), [("bucket", "webdataset"), ("bucket", "folder"), ("drive", "webdataset")]
)
def test_killed_at_random_the_files_at_an_address_are_the_same(
    run: Callable[..., Summary], source: Path, address: Any, tmp_path: Path, kind: str, form: str
) -> None:
    out = address(kind)
    (tmp_path / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.t2i.batch.doomed", str(source), out, form],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    killed, status = map(int, done.stdout.split())
    assert (status, done.stderr) == (0, "") and killed >= 2
    assert list((tmp_path / "temporary").iterdir()) == [], "what was killed is tidied up"
    assert run(out, format=form, rows_per_shard=4).drawn_pictures == 0
    run(tmp_path / "here", format=form, rows_per_shard=4)
    assert stored(out) == tree(tmp_path / "here")


def test_a_far_file_system_shows_no_file_under_its_name_before_it_is_whole(address: Any) -> None:
    storage = storage_of(address("drive"))
    data = os.urandom(200_000)
    with write(storage, "shards/000000.tar") as file:
        file.write(b"before")
    seen: set[int] = set()
    writing = threading.Thread(target=_write, args=[storage, data])
    writing.start()
    while writing.is_alive():
        if "000000.tar" in storage.names("shards"):
            try:
                seen.add(len(storage.read("shards/000000.tar")))
            except FileNotFoundError:
                continue
    writing.join()
    assert seen <= {6, len(data)} and storage.read("shards/000000.tar") == data
    assert storage.names("shards") == {"000000.tar"}


def _write(storage: Any, data: bytes) -> None:
    with write(storage, "shards/000000.tar") as file:
        file.write(data)


@pytest.mark.parametrize("form", ["webdataset", "folder"])
@pytest.mark.parametrize("kind", ["memory", "bucket", "drive"])
def test_what_fails_leaves_nothing_half(
    run: Callable[..., Summary], address: Any, kind: str, form: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Failing(Squares):
        def draw(self, asks: Any) -> Any:
            if len(self.asked) > 30:
                raise T2IError("the lamp is out")
            return super().draw(asks)

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    out = address(kind)
    with pytest.raises(T2IError, match="the lamp is out"):
        run(out, Failing(), format=form)
    run(tmp_path / "here", format=form)
    whole = tree(tmp_path / "here")
    assert stored(out).items() < whole.items()
    assert list((tmp_path / "temporary").iterdir()) == []
    run(out, format=form)
    assert stored(out) == whole


def test_a_store_that_fails_stops_the_job_with_its_words_and_the_next_run_goes_on(
    run: Callable[..., Summary], address: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = address("bucket")
    put = Bucket.put_file

    def full(self: Bucket, lpath: str, rpath: str, **others: Any) -> None:
        if rpath.endswith("000002.tar"):
            raise RuntimeError("the bucket\nis full")
        put(self, lpath, rpath, **others)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put_file", full)
        with pytest.raises(OSError, match="the bucket is full") as caught:
            run(out)
        assert caught.value.filename == f"{out}/shards/000002.tar"
    assert 0 < run(out).drawn_pictures < PICTURES


@pytest.mark.parametrize("kind", ["memory", "bucket"])
def test_rows_are_read_from_an_address(
    run: Callable[..., Summary], address: Any, source: Path, tmp_path: Path, kind: str
) -> None:
    far = f"{address(kind)}/../captions.jsonl".replace("out/../", "")
    with write(storage_of(far.rpartition("/")[0]), "captions.jsonl") as file:
        file.write(source.read_bytes())
    run(tmp_path / "far-rows", source=far)
    run(tmp_path / "here")
    assert tree(tmp_path / "far-rows") == tree(tmp_path / "here")
    # Long lines, the byte order mark and blank lines need a real reader of lines.
    system, path = fsspec.core.url_to_fs(far)
    system.pipe_file(path, b"\xef\xbb\xbf" + b"x" * 3_000_000 + b"\n\n" + source.read_bytes())
    summary = run(tmp_path / "odd", source=far)
    assert (summary.failed, summary.pictures) == (2, PICTURES)


def test_rows_are_read_from_within_an_archive_and_as_parquet(
    run: Callable[..., Summary], source: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.write(source, "captions.jsonl")
    far = f"zip://captions.jsonl::file://{tmp_path}/rows.zip"
    assert run(tmp_path / "zipped", source=far).pictures == PICTURES
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"text": "a bird"}] * 9), packed)
    fsspec.filesystem("memory").pipe_file("/c.parquet", packed.getvalue())
    assert run(tmp_path / "p", source="memory://c.parquet", input_format="parquet").pictures == 9


def test_a_far_input_that_changes_meanwhile_is_noticed(
    run: Callable[..., Summary], tmp_path: Path, source: Path
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/c.jsonl", source.read_bytes())

    class Changing(Squares):
        def draw(self, asks: Any) -> Any:
            memory.pipe_file("/c.jsonl", source.read_bytes() + b"\n")
            return super().draw(asks)

    with pytest.raises(BatchError, match=r"memory://c\.jsonl: was changed while"):
        run(tmp_path / "out", Changing(), source="memory://c.jsonl")


def test_a_stream_is_kept_at_the_address(
    run: Callable[..., Summary], address: Any, source: Path
) -> None:
    out, rows = address("bucket"), source.read_bytes()
    assert run(out, source=io.BytesIO(rows)).drawn_pictures == PICTURES
    assert stored(out)["input.jsonl"] == rows
    with pytest.raises(JobChanged):
        run(out, source=io.BytesIO(b'{"text": "else"}\n'))
    assert run(out, source=f"{out}/input.jsonl").drawn_pictures == 0
    assert stored(out)["input.jsonl"] == rows


def test_an_address_that_cannot_be_used_says_what_would_be_right(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="'sw4' is no kind of address"):
        run("sw4://bucket/out")
    with pytest.raises(InvalidInput, match=r"one thing at a time.*sftp"):
        run("ftp://host.invalid/out")
    for nowhere in ("memory://nowhere.jsonl", f"file://{tmp_path}/nowhere.jsonl"):
        with pytest.raises(InvalidInput, match=f"there is no file '{nowhere[:20]}"):
            run(tmp_path / "out", source=nowhere)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match=r"No such file.*: 'memory://out/records/1'"):
        storage_of("memory://out").read("records/1")
    for missing in ("s3", "gs"):
        try:
            fsspec.get_filesystem_class(missing)
        except ImportError:
            with pytest.raises(ExtraMissing, match=f"{missing}://bucket/out: .*nstall"):
                run(f"{missing}://bucket/out")
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    with pytest.raises((BatchError, OSError), match=r"zip://out"):
        run(f"zip://out::file://{tmp_path}/a.zip")


def test_a_file_of_this_machine_has_one_name_however_it_is_written(tmp_path: Path) -> None:
    for where in (tmp_path / "c", str(tmp_path / "c"), f"file://{tmp_path}/c"):
        assert file_of(where).storage == storage_of(tmp_path)
        assert str(file_of(where)) == str(tmp_path / "c")


def test_the_command_goes_from_an_address_to_an_address(source: Path) -> None:
    from t2i.cli import main

    fsspec.filesystem("memory").pipe_file("/texts/c.jsonl", source.read_bytes())
    with serving(Service()) as service:
        asked = ["batch", "memory://texts/c.jsonl", "--out", "memory://birds", "--server", service]
        done = CliRunner().invoke(main, asked)
        assert done.exit_code == 1, done.output
        assert "could not be drawn (memory://birds/failures.jsonl)" in done.stdout
        again = CliRunner().invoke(main, [*asked, "--json"])
        told = json.loads(again.stdout)
        assert (told["out"], told["drawn_pictures"]) == ("memory://birds", 0)
        wrong = CliRunner().invoke(main, [*asked[:3], "nothing://birds", *asked[4:]])
        assert wrong.exit_code == 2 and wrong.stderr.count("\n") == 1
