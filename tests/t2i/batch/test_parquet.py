"""Parquet in, Parquet out; run where pyarrow is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t2i.batch import Job, run_job
from t2i.batch.records import read_records, survey
from t2i.batch.storage import file_of, storage_of
from t2i.batch.writers import Place, read_picture
from t2i.errors import InvalidInput
from tests.t2i.batch.squares import PLUMAGE, Squares, manifest, square, tree

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_rows_go_by_their_column_and_their_number(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"bird {n}", "seed": None} for n in range(10_000)]
    path = write_table(tmp_path / "c.parquet", rows)
    records = list(read_records(file_of(path), "parquet"))
    assert [record.content for record in records] == rows
    assert [(record.row, record.line) for record in records[:2]] == [(1, 1), (2, 2)]
    assert survey(file_of(path), "parquet").rows == 10_000


@pytest.mark.parametrize("data", [b"", b"no table", b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.parquet").write_bytes(data)
    with pytest.raises(InvalidInput, match="is not Parquet"):
        list(read_records(file_of(tmp_path / "c.parquet"), "parquet"))


def test_a_job_from_parquet_to_parquet_goes_on_and_can_be_repeated_from_its_manifest(
    tmp_path: Path,
) -> None:
    rows = [
        {"attributes": {"crown": "red", "size": n / 600}, "count": n % 3 + 1} for n in range(600)
    ]
    source = write_table(tmp_path / "c.parquet", [*rows, {"attributes": None, "count": 1}])
    job = Job(source=source, input_format="parquet", out=tmp_path / "out", format="parquet",
              rows_per_shard=250)  # fmt: skip
    model = Squares(PLUMAGE)
    summary = run_job(job, lambda: model)
    assert (summary.pictures, summary.failed, summary.manifest.suffix) == (1200, 1, ".parquet")
    before = tree(job.out)
    (job.out / "records" / "000001.jsonl").unlink()
    assert run_job(job, lambda: Squares(PLUMAGE)).drawn_pictures == 500
    assert tree(job.out) == before
    pictures = manifest(job.out)
    asks = {(repr(ask.condition), ask.seed): ask for ask in model.asked}
    for picture in pictures[::97]:
        place = Place(picture["file"], picture["position"], picture["bytes"])
        ask = next(a for (_, seed), a in asks.items() if seed == picture["seed"])
        assert read_picture(storage_of(job.out), place) == square(ask)
    (first, *_) = pq.read_table(job.out / pictures[0]["file"]).to_pylist()
    assert first["image"]["path"] == "000000001-0000.png"
    assert json.loads(first["condition"]) == pictures[0]["condition"]
    again = Job(source=summary.manifest, input_format="parquet", out=tmp_path / "again")
    assert run_job(again, lambda: Squares(PLUMAGE)).pictures == 1200
    assert [p["seed"] for p in manifest(again.out)] == [p["seed"] for p in pictures]
