from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2i.batch import BatchError, FolderBusy, Job, JobChanged, ShardReport, Summary, run_job
from t2i.errors import InvalidInput, T2IError
from tests.t2i.batch.squares import BIRDS, Squares, manifest, told, tree, write_rows

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"text": f"bird {n}", "count": n % 3 + 1} for n in range(40)]
PICTURES = sum(row["count"] for row in ROWS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "captions.jsonl", ROWS)


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Callable[..., Summary]:
    def run(model: Squares | None = None, **options: Any) -> Summary:
        given = {"source": source, "input_format": "jsonl", "out": tmp_path / "out"}
        job = Job(**{**given, "rows_per_shard": 7, **options})
        return run_job(job, lambda: model or Squares(), progress=options.pop("progress", None))

    return run


def test_every_row_is_drawn_once(run: Callable[..., Summary], tmp_path: Path) -> None:
    model = Squares()
    summary = run(model)
    out = tmp_path / "out"
    assert (summary.rows, summary.failed, summary.pictures, summary.shards) == (40, 0, PICTURES, 6)
    assert summary.drawn_pictures == PICTURES and summary.failures is None
    assert model.closed
    drawn = manifest(summary.out)
    assert [(p["row"], p["index"]) for p in drawn] == [
        (row, index) for row in range(1, 41) for index in range(ROWS[row - 1]["count"])
    ]
    assert len({p["seed"] for p in drawn}) == PICTURES
    assert sorted(path.name for path in (out / "shards").iterdir()) == [
        f"00000{n}.tar" for n in range(6)
    ]
    with Image.open(summary.sheet) as sheet:
        assert sheet.size == (8 * 10 - 2, 8 * 10 - 2), "64 of them in 8 rows"


def test_a_picture_does_not_depend_on_the_shard_in_which_its_row_falls(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    def drawn(name: str, **options: Any) -> list[Any]:
        out = run(out=tmp_path / name, format="folder", **options).out
        return [(p["id"], p["index"], (out / p["file"]).read_bytes()) for p in manifest(out)]

    assert drawn("a", rows_per_shard=1) == drawn("b", rows_per_shard=11) == drawn("c")


def test_a_second_run_draws_nothing(run: Callable[..., Summary], tmp_path: Path) -> None:
    first, before = run(), tree(tmp_path / "out")
    model = Squares()
    second = run(model)
    assert model.asked == [] and tree(tmp_path / "out") == before
    assert second.drawn_pictures == 0
    assert replace(second, drawn_pictures=PICTURES, seconds=first.seconds) == first


def test_only_what_is_missing_is_drawn(run: Callable[..., Summary], tmp_path: Path) -> None:
    run()
    out = tmp_path / "out"
    before = tree(out)
    (out / "records" / "000002.jsonl").unlink()
    (out / "shards" / "000004.tar").unlink()
    (out / "records" / "000005.jsonl").write_text("damaged")
    model = Squares()
    summary = run(model)
    assert (
        summary.drawn_pictures
        == len(model.asked)
        == sum(row["count"] for row in ROWS[14:21] + ROWS[28:40])
    )
    assert tree(out) == before


@dataclass
class Watch:
    rows: int = 0
    there: int = 0
    done: int = 0
    pictures: int = 0
    shards: int = 0

    def begin(self, rows: int) -> None:
        self.rows = rows

    def found(self, report: ShardReport) -> None:
        self.there += report.rows

    def drawn(self, rows: int, pictures: int) -> None:
        self.done += rows
        self.pictures += pictures

    def finished(self, report: ShardReport) -> None:
        self.shards += 1


def test_progress_tells_what_was_there_and_what_is_new(
    source: Path, run: Callable[..., Summary], tmp_path: Path
) -> None:
    run()
    (tmp_path / "out" / "records" / "000001.jsonl").unlink()
    watch = Watch()
    job = Job(source=source, input_format="jsonl", out=tmp_path / "out", rows_per_shard=7)
    run_job(job, Squares, progress=watch)
    assert watch == Watch(40, 33, 7, sum(row["count"] for row in ROWS[7:14]), 1)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": 1}, "--seed was 0 and is 1"),
        ({"count": 2}, "--count was 1 and is 2"),
        ({"truncation": 0.5}, "--truncation was 1.0 and is 0.5"),
        ({"rows_per_shard": 8}, "--rows-per-shard was 7 and is 8"),
        ({"format": "folder"}, "--format was webdataset and is folder"),
        ({"input_format": "text"}, "the input has changed"),
        (
            {"model": Squares(replace(BIRDS, checksum="cd" * 32))},
            "the model was squares abababababab and is squares cdcdcdcdcdcd",
        ),
    ],
)
def test_another_job_is_refused_in_a_folder_that_has_one(
    run: Callable[..., Summary], tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    run()
    before = tree(tmp_path / "out")
    with pytest.raises(JobChanged, match="another job") as caught:
        run(**change)
    assert problem in str(caught.value) and "--restart" in str(caught.value)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("ending", ['{"text": "one more"}\n', None])
def test_a_changed_input_is_refused_unless_asked_for(
    run: Callable[..., Summary], source: Path, tmp_path: Path, ending: str | None
) -> None:
    run()
    text = source.read_text()
    # Same length and same time: only reading it can tell.
    times = source.stat()
    source.write_text(text + ending if ending else text.replace("bird 39", "fish 39"))
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(JobChanged, match="the input has changed"):
        run()
    summary = run(restart=True)
    assert summary.drawn_pictures == summary.pictures == PICTURES + (ending is not None)


def test_a_restart_leaves_what_a_new_folder_would_have(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    run(rows_per_shard=3)
    run(format="folder", restart=True)
    run(out=tmp_path / "new", format="folder")
    assert tree(tmp_path / "out") == tree(tmp_path / "new")


def test_what_is_left_of_a_half_removed_job_is_not_gone_on_with(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    run()
    (tmp_path / "out" / "job.json").unlink()
    run(seed=1)
    run(seed=1, out=tmp_path / "new")
    assert tree(tmp_path / "out") == tree(tmp_path / "new")


def test_an_input_that_changes_meanwhile_is_noticed(
    run: Callable[..., Summary], source: Path, tmp_path: Path
) -> None:
    class Changing(Squares):
        def draw(self, asks: Any) -> Any:
            with source.open("a") as file:
                file.write("\n")
            return super().draw(asks)

    with pytest.raises(BatchError, match="was changed while its rows were drawn"):
        run(Changing())
    assert not list((tmp_path / "out").glob("manifest.*"))


def test_a_restart_that_cannot_begin_removes_nothing(
    run: Callable[..., Summary], source: Path, tmp_path: Path
) -> None:
    run()
    before = tree(tmp_path / "out")

    def typing_error() -> Squares:
        raise T2IError("there is no such model")

    job = Job(source=source, input_format="jsonl", out=tmp_path / "out", restart=True)
    with pytest.raises(T2IError, match="no such model"):
        run_job(job, typing_error)
    source.write_text("text,text\n")
    with pytest.raises(InvalidInput, match="header"):
        run_job(replace(job, input_format="csv"), Squares)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("names", [["holiday.png"], ["shards/mine.tar"], ["job.json"]])
def test_a_folder_of_something_else_is_left_alone(
    run: Callable[..., Summary], tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("{}")
    before = tree(tmp_path / "out")
    for restart in (False, True):
        with pytest.raises(BatchError, match=r"--out|empty folder"):
            run(restart=restart)
    assert tree(tmp_path / "out") == before


def test_two_runs_in_one_folder_are_refused(run: Callable[..., Summary], tmp_path: Path) -> None:
    inside, go = threading.Event(), threading.Event()

    class Held(Squares):
        def draw(self, asks: Any) -> Any:
            inside.set()
            go.wait()
            return super().draw(asks)

    first = threading.Thread(target=run, args=[Held()])
    first.start()
    assert inside.wait(30)
    try:
        for restart in (False, True):
            with pytest.raises(FolderBusy, match=rf"another run .*process {os.getpid()} on"):
                run(restart=restart)
    finally:
        go.set()
        first.join()
    assert run().drawn_pictures == 0


def test_a_stream_is_kept_so_that_the_job_can_go_on(
    run: Callable[..., Summary], source: Path, tmp_path: Path
) -> None:
    out, rows = tmp_path / "out", source.read_bytes()
    assert run(source=io.BytesIO(rows)).drawn_pictures == PICTURES
    assert (out / "input.jsonl").read_bytes() == rows
    before = tree(out)
    with pytest.raises(JobChanged):
        run(source=io.BytesIO(b'{"text": "else"}\n'))
    assert tree(out) == before, "what was refused replaces nothing"
    assert run(source=io.BytesIO(rows)).drawn_pictures == 0
    assert run(source=out / "input.jsonl").drawn_pictures == 0
    assert run(source=source).drawn_pictures == 0


def test_all_bad_rows_and_no_others_are_in_the_failures(
    run: Callable[..., Summary], source: Path
) -> None:
    bad = {8: {"text": " "}, 120: {"text": "a", "seed": -1}, 299: {"id": "b", "label": 3}}
    rows = [bad.get(n, {"text": f"bird {n}"}) for n in range(1, 301)]
    write_rows(source, rows)
    summary = run()
    assert (summary.rows, summary.failed, summary.pictures) == (300, 3, 297)
    assert [(f["line"], f["id"], f["field"]) for f in told(summary.failures)] == [
        (8, "8", "text"), (120, "120", "seed"), (299, "b", "condition"),
    ]  # fmt: skip
    assert {p["row"] for p in manifest(summary.out)} == set(range(1, 301)) - set(bad)


def test_a_job_of_no_rows_is_done_at_once(run: Callable[..., Summary], source: Path) -> None:
    source.write_text("\n")
    summary = run()
    assert (summary.rows, summary.pictures, summary.sheet, summary.failures) == (0, 0, None, None)
    assert manifest(summary.out) == []


def test_an_input_that_cannot_be_read_leaves_no_job(
    run: Callable[..., Summary], source: Path, tmp_path: Path
) -> None:
    source.write_text("text,text\na,b\n")
    with pytest.raises(InvalidInput, match="header"):
        run(input_format="csv")
    assert not (tmp_path / "out" / "job.json").exists()
    source.write_text("text\na\n")
    assert run(input_format="csv").pictures == 1


def test_a_model_that_fails_stops_the_job_and_the_next_run_goes_on(
    run: Callable[..., Summary], tmp_path: Path
) -> None:
    class Failing(Squares):
        def draw(self, asks: Any) -> Any:
            if len(self.asked) > 30:
                raise T2IError("the lamp is out")
            return super().draw(asks)

    model = Failing()
    with pytest.raises(T2IError, match="the lamp is out"):
        run(model)
    assert model.closed and not list((tmp_path / "out").glob("manifest.*"))
    assert 0 < run().drawn_pictures < PICTURES
    run(out=tmp_path / "undisturbed")
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("form", ["webdataset", "folder"])
def test_a_full_disk_stops_the_job_and_the_next_run_goes_on(
    run: Callable[..., Summary], tmp_path: Path, form: str
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The records of the first shards fit; a longer one does not: as on a disk without space.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            run(format=form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    out = tmp_path / "out"
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]
    summary = run(format=form)
    assert summary.pictures == PICTURES
    run(format=form, out=tmp_path / "undisturbed")
    assert tree(out) == tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("form", ["webdataset", "folder"])
def test_killed_at_random_the_rows_are_all_there_once_and_every_file_is_the_same(
    run: Callable[..., Summary], tmp_path: Path, form: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.t2i.batch.doomed", str(tmp_path / "captions.jsonl"),
         str(tmp_path / "out"), form],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    killed, status = map(int, done.stdout.split())
    assert (status, done.stderr) == (0, "") and killed >= 2
    summary = run(format=form, rows_per_shard=4)
    assert (summary.drawn_pictures, summary.pictures) == (0, PICTURES)
    assert len({(p["row"], p["index"]) for p in manifest(summary.out)}) == PICTURES
    run(format=form, rows_per_shard=4, out=tmp_path / "undisturbed")
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")


def test_five_million_rows_start_at_once_and_are_not_held_in_memory(
    run: Callable[..., Summary], source: Path, tmp_path: Path
) -> None:
    with source.open("wb") as file:
        for _ in range(50):
            file.write(b'{"text": "a bird"}\n' * 100_000)

    class First(Squares):
        def draw(self, asks: Any) -> Any:
            raise T2IError(f"after {time.process_time() - began:.2f} s")

    tracemalloc.start()
    # Processor time, which does not depend on what else the machine does.
    began = time.process_time()
    try:
        with pytest.raises(T2IError, match=r"after [0-4]\."):
            run(First(), rows_per_shard=1000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20e6
