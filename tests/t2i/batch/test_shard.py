from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from t2i.batch.errors import JobStopped
from t2i.batch.plan import Plan, Shard, shards
from t2i.batch.records import Record
from t2i.batch.shard import ShardReport, ShardTask, draw_shard, record_name, report_of
from t2i.batch.storage import Storage, storage_of
from t2i.batch.writers import Place, read_picture
from t2i.errors import InvalidInput, T2IError
from tests.t2i.batch.squares import BIRDS, Squares, square, told, tree

PLAN = Plan(model=BIRDS, input_format="jsonl")


def shard(*rows: object, number: int = 3) -> Shard:
    records = [Record(n, n, json.dumps(row).encode()) for n, row in enumerate(rows, 1)]
    return Shard(number, tuple(records))


ROWS = ({"text": "a", "id": "x", "count": 3}, {"text": ""}, {"text": "b", "seed": 7, "wings": 2})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("shards", "records"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_rows_fall_into_shards_of_a_fixed_number() -> None:
    records = [Record(n, n, b"a") for n in range(1, 8)]
    made = list(shards(iter(records), 3))
    assert [(s.number, len(s.records)) for s in made] == [(0, 3), (1, 3), (2, 1)]
    assert [r for s in made for r in s.records] == records
    assert made[1].name == "000001"


@pytest.mark.parametrize(
    ("name", "value"),
    [("rows_per_shard", 0), ("count", 1025), ("seed", -1), ("truncation", 2), ("format", "zip")],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=name):
        replace(PLAN, **{name: value})


@pytest.mark.parametrize("form", ["webdataset", "folder"])
def test_a_record_tells_each_picture_and_each_failure(out: Path, form: str) -> None:
    model = Squares()
    report = draw_shard(ShardTask(replace(PLAN, format=form), shard(*ROWS), out), model.draw)
    assert report == ShardReport(3, rows=3, failed=1, pictures=4, passed_over=("wings",))
    assert report_of(storage_of(out), 3) == report
    failure, *pictures, _ = told(out / record_name(3))
    assert failure == {
        "line": 2, "row": 2, "id": "2", "field": "text",
        "reason": "is empty; give a caption of 1 to 512 characters",
    }  # fmt: skip
    assert [(p["id"], p["row"], p["index"], p["caption"]) for p in pictures] == [
        ("x", 1, 0, "a"), ("x", 1, 1, "a"), ("x", 1, 2, "a"), ("3", 3, 0, "b"),
    ]  # fmt: skip
    assert pictures[1]["seed"] == pictures[0]["seed"] + 1 and pictures[3]["seed"] == 7
    for picture, ask in zip(pictures, model.asked, strict=True):
        assert (picture["model"], picture["checksum"]) == ("squares", "ab" * 32)
        assert picture["seed"] == ask.seed and picture["condition"] == {"text": picture["caption"]}
        place = Place(picture["file"], picture["position"], picture["bytes"])
        assert read_picture(storage_of(out), place) == square(ask)


def test_a_tar_holds_picture_caption_and_all_that_is_known(out: Path) -> None:
    draw_shard(ShardTask(PLAN, shard(*ROWS), out), Squares().draw)
    with tarfile.open(out / "shards" / "000003.tar") as tar:
        names = tar.getnames()
        assert names[:3] == [f"000000001-0000.{suffix}" for suffix in ("png", "txt", "json")]
        assert len(names) == len(set(names)) == 12
        files = {name: tar.extractfile(name).read() for name in names}
        assert {member.mtime for member in tar} == {0}
    assert files["000000003-0000.txt"] == b"b"
    described = json.loads(files["000000001-0002.json"])
    assert (described["id"], described["index"], described["row"]) == ("x", 2, 1)
    with Image.open(io.BytesIO(files["000000001-0002.png"])) as picture:
        assert picture.size == (8, 8)


def test_a_folder_is_one_that_training_can_read(out: Path) -> None:
    draw_shard(ShardTask(replace(PLAN, format="folder"), shard(*ROWS), out), Squares().draw)
    folder = out / "shards" / "000003"
    lines = told(folder / "metadata.jsonl")
    assert [(line["file_name"], line["text"]) for line in lines][-1] == ("000000003-0000.png", "b")
    names = {path.name for path in folder.iterdir()}
    assert names == {"metadata.jsonl", *(line["file_name"] for line in lines)}


@pytest.mark.parametrize("form", ["webdataset", "folder"])
def test_files_do_not_depend_on_how_many_pictures_are_drawn_at_once(
    tmp_path: Path, form: str
) -> None:
    made = []
    for at_once in (1, 2, 64):
        out = tmp_path / str(at_once)
        for name in ("shards", "records"):
            (out / name).mkdir(parents=True)
        rows = [{"text": f"bird {n}", "count": n % 3 + 1} for n in range(9)]
        task = ShardTask(replace(PLAN, format=form), shard(*rows), out)
        draw_shard(task, Squares().draw, at_once=at_once)
        made.append(tree(out))
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("form", ["webdataset", "folder"])
def test_what_is_given_up_leaves_nothing(out: Path, form: str) -> None:
    stopped = iter([False, False, True]).__next__
    task = ShardTask(replace(PLAN, format=form), shard(*ROWS), out, stopped=stopped)
    with pytest.raises(JobStopped):
        draw_shard(task, Squares().draw, at_once=1)

    def fail(asks: object) -> list[Squares]:
        raise T2IError("out of order")

    with pytest.raises(T2IError, match="out of order"):
        draw_shard(ShardTask(task.plan, task.shard, out), fail)
    assert [path for folder in ("shards", "records") for path in (out / folder).iterdir()] == []


def test_a_row_counts_when_its_last_picture_is_written(out: Path) -> None:
    counted: list[tuple[int, int]] = []
    task = ShardTask(PLAN, shard(*ROWS), out, drawn=lambda *each: counted.append(each))
    draw_shard(task, Squares().draw, at_once=2)
    assert counted == [(1, 0), (0, 2), (2, 2)]


def test_plan_and_shard_can_be_sent_to_another_process(out: Path) -> None:
    plan, rows = pickle.loads(pickle.dumps((PLAN, shard(*ROWS))))
    assert (plan, rows) == (PLAN, shard(*ROWS))
    assert draw_shard(ShardTask(plan, rows, out), Squares().draw).pictures == 4


@pytest.mark.parametrize("told", [lambda path: path, str, storage_of])
def test_a_task_may_tell_its_folder_by_path_by_words_or_as_what_it_is(
    out: Path, told: Callable[[Path], Storage | Path | str]
) -> None:
    task = ShardTask(PLAN, shard(*ROWS), told(out))
    assert task.storage == storage_of(out)
    assert draw_shard(task, Squares().draw) == report_of(storage_of(out), 3)


def test_a_shard_without_a_row_to_draw_is_a_shard_all_the_same(out: Path) -> None:
    report = draw_shard(ShardTask(PLAN, shard({"text": ""}), out), Squares().draw)
    assert (report.failed, report.pictures) == (1, 0)
    with tarfile.open(out / "shards" / "000003.tar") as tar:
        assert tar.getnames() == []
