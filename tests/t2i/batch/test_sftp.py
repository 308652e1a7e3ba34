"""Jobs from and to a real SFTP server, through both clients that fsspec may use for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from t2i.batch import FolderBusy, Job, run_job
from t2i.batch import lease as lease_module
from t2i.batch.lease import lease
from t2i.batch.remote import RemoteStorage
from t2i.batch.storage import storage_of
from t2i.cli import main
from tests.t2i.batch.servers import PASSWORD, USER, served
from tests.t2i.batch.squares import Squares, manifest, tree, write_rows
from tests.t2i.client.faulty_service import Service, serving

pytest.importorskip("asyncssh")

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"text": f"bird {n}", "count": n % 3 + 1} for n in range(13)] + [{"text": ""}]
PICTURES = sum(row.get("count", 0) for row in ROWS)
CLIENTS = {
    "paramiko": "fsspec.implementations.sftp.SFTPFileSystem",
    "sshfs": "sshfs.spec.SSHFileSystem",
}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this machine that the server shows."""
    return tmp_path_factory.mktemp("there")


@pytest.fixture(scope="module")
def host(there: Path) -> Iterator[str]:
    with served("sftp", there) as port:
        yield f"sftp://{USER}:{PASSWORD}@127.0.0.1:{port}"


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two asks; sshfs takes the other's place where it is installed."""
    pytest.importorskip(request.param)
    fsspec.register_implementation("sftp", CLIENTS[request.param], clobber=True)
    monkeypatch.setattr(lease_module, "_SETTLE_SECONDS", 0.01)
    monkeypatch.setattr(lease_module, "_LOOK_SECONDS", 0.05)
    return str(request.param)


@pytest.fixture
def out(client: str, host: str, request: pytest.FixtureRequest) -> str:
    return f"{host}/{request.function.__name__[5:25]}/{client}/out"


@pytest.fixture
def found(there: Path, host: str) -> Callable[[str], dict[str, bytes]]:
    """What lies at an address, all of it, as the server's machine sees it."""
    return lambda address: {
        path.relative_to(there / address.removeprefix(f"{host}/")).as_posix(): path.read_bytes()
        for path in (there / address.removeprefix(f"{host}/")).rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("texts") / "captions.jsonl", ROWS)


@pytest.fixture
def job(source: Path, out: str) -> Job:
    return Job(source=source, input_format="jsonl", out=out, rows_per_shard=4)


@pytest.mark.parametrize("form", ["webdataset", "folder", "parquet"])
def test_the_files_on_a_host_are_those_of_a_folder(
    job: Job, out: str, found: Any, there: Path, host: str, tmp_path: Path, form: str
) -> None:
    (there / "texts").mkdir(exist_ok=True)
    (there / "texts" / "captions.jsonl").write_bytes(job.source.read_bytes())
    asked = replace(job, source=f"{host}/texts/captions.jsonl", format=form, out=f"{out}-{form}")
    summary = run_job(asked, Squares)
    run_job(replace(asked, source=job.source, out=tmp_path / "here"), Squares)
    assert (summary.pictures, summary.failed, summary.drawn_pictures) == (PICTURES, 1, PICTURES)
    assert found(f"{out}-{form}") == tree(tmp_path / "here"), "nor are there locks or drafts"
    assert len(manifest(f"{out}-{form}")) == PICTURES
    assert run_job(asked, Squares).drawn_pictures == 0
    assert run_job(replace(asked, seed=1, restart=True), Squares).drawn_pictures == PICTURES
    assert found(f"{out}-{form}").keys() == tree(tmp_path / "here").keys()


DOOMED = """
import sys
import fsspec
from tests.t2i.batch.doomed import main

fsspec.register_implementation("sftp", sys.argv[1], clobber=True)
main(*sys.argv[2:])
"""


def test_killed_at_random_the_files_on_a_host_are_those_of_an_undisturbed_run(
    job: Job, out: str, client: str, found: Any, tmp_path: Path
) -> None:
    (tmp_path / "temporary").mkdir()
    doomed = [CLIENTS[client], str(job.source), out, "webdataset", "3", client, "pyarrow.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", DOOMED, *doomed], capture_output=True, text=True, cwd=ROOT,
        timeout=120, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("3 0\n", "")
    assert list((tmp_path / "temporary").iterdir()) == []
    run_job(replace(job, out=tmp_path / "here"), Squares)
    assert found(out) == tree(tmp_path / "here")
    assert run_job(job, Squares).drawn_pictures == 0


def test_no_file_is_seen_under_its_name_before_it_is_whole(
    out: str, there: Path, host: str, tmp_path: Path
) -> None:
    storage, target = storage_of(out), there / out.removeprefix(f"{host}/") / "shards" / "0.tar"
    seen: set[int] = set()
    data = os.urandom(4_000_000)

    def keep(data: bytes) -> None:
        with storage.draft("shards/0.tar") as draft:
            draft.path.write_bytes(data)
            draft.keep()

    keep(b"before")
    before = target.stat()
    writing = threading.Thread(target=keep, args=[data])
    writing.start()
    while writing.is_alive():
        # Not even while it takes the place of another is there none.
        seen.add(target.stat().st_size)
    writing.join()
    assert seen <= {6, len(data)} and target.read_bytes() == data
    assert target.stat().st_ino != before.st_ino, "not overwritten, but another file"
    assert [path.name for path in target.parent.iterdir()] == ["0.tar"]


def test_of_many_who_create_the_lock_at_once_one_does_and_each_makes_the_folders(
    out: str, found: Any
) -> None:
    storage = storage_of(out)
    assert isinstance(storage, RemoteStorage)
    ready = threading.Barrier(4)

    def create(number: int) -> bool:
        storage.names()
        ready.wait(30)
        made = storage.create(".lock", str(number).encode())
        with storage.draft(f"records/{number}") as draft:
            draft.path.write_bytes(b"here")
            draft.keep()
        return made

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(create, range(4)))
    assert sum(made) == 1
    records = {f"records/{number}": b"here" for number in range(4)}
    assert found(out) == {".lock": str(made.index(True)).encode(), **records}


def test_a_second_run_is_refused_while_the_first_is_at_work(
    job: Job, out: str, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go = threading.Event(), threading.Event()
    monkeypatch.setattr(
        RemoteStorage, "locked", lambda self, name: lease(self, name, renew=0.05, patience=5)
    )

    class Held(Squares):
        def draw(self, asks: Any) -> Any:
            inside.set()
            go.wait(30)
            return super().draw(asks)

    first = threading.Thread(target=run_job, args=[job, Held])
    first.start()
    assert inside.wait(30)
    try:
        with pytest.raises(FolderBusy, match=rf"another run .*process {os.getpid()} on"):
            run_job(job, Squares)
    finally:
        go.set()
        first.join()
    assert run_job(job, Squares).drawn_pictures == 0


def test_a_server_that_is_started_again_meanwhile_is_found_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paramiko")
    fsspec.register_implementation("sftp", CLIENTS["paramiko"], clobber=True)
    (tmp_path / "far").mkdir()
    with ExitStack() as servers:
        port = servers.enter_context(served("sftp", tmp_path / "far"))

        class Restarted(Squares):
            started = False

            def draw(self, asks: Any) -> Any:
                if len(self.asked) > 10 and not self.started:
                    self.started = True
                    servers.pop_all().close()
                    servers.enter_context(served("sftp", tmp_path / "far", port))
                return super().draw(asks)

        # One shard: nothing is on its way when the connections break.
        out = f"sftp://{USER}:{PASSWORD}@127.0.0.1:{port}/out"
        job = Job(source=source, input_format="jsonl", out=out)
        drawer = Restarted()
        summary = run_job(job, lambda: drawer)
        assert drawer.started and summary.drawn_pictures == PICTURES
    run_job(replace(job, out=tmp_path / "here"), Squares)
    assert tree(tmp_path / "far" / "out") == tree(tmp_path / "here")


def test_to_be_read_does_not_change_an_input_and_to_be_written_does(
    client: str, host: str, there: Path
) -> None:
    file = there / f"{client}.jsonl"
    file.write_text("one")
    storage = storage_of(host)
    before = storage.stamp(file.name)
    modified = file.stat().st_mtime
    os.utime(file, (modified + 60, modified))
    assert storage.stamp(file.name) == before
    os.utime(file, (modified + 60, modified + 60))
    assert storage.stamp(file.name) != before


def test_a_part_of_a_file_is_read_as_a_slice(client: str, host: str, there: Path) -> None:
    data = os.urandom(100_000)
    (there / f"{client}.bin").write_bytes(data)
    storage = storage_of(host)
    for start, end in ((None, None), (10, 60_000), (-100, None), (None, 7), (90_000, 200_000)):
        assert storage.read(f"{client}.bin", start, end) == data[start:end]


def test_what_a_host_refuses_is_told_in_a_line(
    client: str, host: str, there: Path, source: Path
) -> None:
    (there / "captions.jsonl").write_bytes(source.read_bytes())
    with serving(Service()) as service:

        def said(texts: Path | str, out: str) -> str:
            asked = ["batch", str(texts), "--out", out, "--server", service]
            done = CliRunner().invoke(main, asked)
            assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
            return done.stderr

        stranger = host.replace(PASSWORD, "guess")
        assert f"{stranger}/x: " in (refused := said(source, f"{stranger}/x"))
        assert "Authentication failed" in refused or "Permission denied" in refused
        nobody = host.rpartition(":")[0] + ":9"
        assert f"{nobody}/x: " in said(source, f"{nobody}/x")
        assert "there is no file" in said(f"{host}/nowhere.jsonl", f"{host}/x")
        assert "is a file; give a folder" in said(source, f"{host}/captions.jsonl")
        for whole in (host, f"{host}/"):
            assert "and no batch job; give an empty folder" in said(source, whole)


def test_the_command_finds_the_password_where_fsspec_is_told_it(
    client: str, host: str, there: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As from FSSPEC_SFTP_USERNAME and FSSPEC_SFTP_PASSWORD, or a file.
    given = {"username": USER, "password": PASSWORD}
    monkeypatch.setitem(fsspec.config.conf, "sftp", given)
    out = f"sftp://{host.partition('@')[2]}/told/{client}"
    with serving(Service()) as service:
        asked = ["batch", str(source), "--out", out, "--server", service]
        done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1, done.output
    assert done.stdout.startswith(f"14 rows: {PICTURES} pictures in 1 shards in {out}, 1 could")
    assert (there / "told" / client / "shards" / "000000.tar").is_file()
