from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from t2i.batch.parquet import is_installed
from t2i.cli import main
from tests.t2i.batch.squares import told, tree, write_rows
from tests.t2i.client.faulty_service import Refusal, Service, serving
from tests.t2i.small_bundle import save_conditioned


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with serving(service) as address:
        service.address = address
        yield service


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Service):
    monkeypatch.chdir(tmp_path)

    def batch(*arguments: str | Path, data: bytes | None = None) -> Result:
        given = ["batch", *map(str, arguments), "--out", "out", "--server", service.address]
        return CliRunner().invoke(main, given, input=data)

    return batch


def test_a_file_of_captions_becomes_shards_and_a_summary(batch) -> None:
    Path("c.txt").write_text("a bird\na fish\na bird\n")
    done = batch("c.txt", "--rows-per-shard", "2", "--count", "2")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("3 rows: 6 pictures in 2 shards in out; 6 drawn in ")
    assert done.stdout.count("\n") == 1
    again = batch("c.txt", "--rows-per-shard", "2", "--count", "2")
    assert again.stdout == "3 rows: 6 pictures in 2 shards in out; all were there\n"


def test_a_ray_that_is_not_there_ends_the_command_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    Path("c.jsonl").write_text('{"label": 1}\n')
    bundle = save_conditioned(tmp_path / "bundles", "digits")
    with socket.socket() as bound:
        # Nobody listens at it, and nobody else gets it.
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        given = ["c.jsonl", "--out", "out", "--model", str(bundle)]
        given += ["--engine", "ray", "--ray-address", address]
        done = CliRunner().invoke(main, ["batch", *given])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: Ray at {address}: cannot be reached (")
    assert done.stderr.count("\n") == 1


def test_the_summary_can_be_json(batch) -> None:
    write_rows(Path("c.jsonl"), [{"text": "a bird", "colour": "red"}])
    done = batch("c.jsonl", "--json")
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["pictures"], summary["failures"]) == (1, 1, None)
    assert summary["manifest"] == str(Path("out") / ("manifest.parquet" if is_installed()
                                                     else "manifest.jsonl"))  # fmt: skip
    assert "passed over: colour" in done.stderr


def test_bad_rows_end_with_code_1_and_are_told(batch) -> None:
    rows = [{"text": "a bird"}, {"text": ""}, {"id": "x", "text": "a", "seed": -1}]
    write_rows(Path("c.jsonl"), rows)
    done = batch("c.jsonl")
    assert done.exit_code == 1
    assert "2 could not be drawn (out/failures.jsonl)" in done.stdout
    assert [(f["line"], f["field"]) for f in told(Path("out/failures.jsonl"))] == [
        (2, "text"), (3, "seed"),
    ]  # fmt: skip
    assert batch("c.jsonl").exit_code == 1, "and so it does when it is asked again"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.txt",), "there is no file 'nowhere.txt'"),
        (("c.data",), "--input-format jsonl, csv, parquet or text"),
        (("-",), "--input-format"),
        ((".",), "is a folder"),
        (("c.txt", "--count", "0"), "--count"),
        (("c.txt", "--format", "zip"), "--format"),
        (("c.txt", "--device", "cpu"), "--device"),
        (("c.txt", "--model", "flowers"), "no model flowers"),
        (("c.txt", "--engine", "ray"), "leave out --server or --engine"),
        (("c.txt", "--ray-workers", "2"), "need --engine ray"),
        (("c.txt", "--ray-address", "auto"), "need --engine ray"),
    ],
)
def test_what_cannot_run_is_said_in_one_line_with_code_2(batch, arguments, said) -> None:
    for name in ("c.txt", "c.data"):
        Path(name).write_text("a bird\n")
    done = batch(*arguments)
    assert done.exit_code == 2
    assert done.stdout == "" and said in done.stderr.splitlines()[-1]


def test_a_changed_input_is_refused_with_code_2_and_a_restart_begins_anew(batch) -> None:
    Path("c.txt").write_text("a bird\n")
    assert batch("c.txt").exit_code == 0
    before = tree(Path("out"))
    Path("c.txt").write_text("a fish\n")
    refused = batch("c.txt")
    assert refused.exit_code == 2 and "--restart" in refused.stderr
    assert refused.stderr.count("\n") == 1 and tree(Path("out")) == before
    assert batch("c.txt", "--restart").exit_code == 0
    assert b"a fish" in (Path("out") / "records" / "000000.jsonl").read_bytes()


def test_standard_input_is_a_file_too(batch) -> None:
    done = batch("-", "--input-format", "csv", data=b"id,text\n7,a bird\n")
    assert done.exit_code == 0, done.stderr
    assert (Path("out") / "input.csv").read_bytes() == b"id,text\n7,a bird\n"
    (record, _) = told(Path("out") / "records" / "000000.jsonl")
    assert (record["id"], record["caption"]) == ("7", "a bird")


def test_a_failing_service_ends_with_code_2_and_the_same_command_goes_on(
    batch, service: Service
) -> None:
    Path("c.txt").write_text("a bird\n" * 40)
    # The first question is which model there is; it is answered all the same.
    service.faults = [Refusal(grpc.StatusCode.INTERNAL, "a fault\nof two lines")] * 2
    done = batch("c.txt", "--rows-per-shard", "4")
    assert done.exit_code == 2
    assert done.stdout == "" and done.stderr.startswith("Error: a fault of two lines")
    assert batch("c.txt", "--rows-per-shard", "4").exit_code == 0


def test_a_folder_that_cannot_be_written_ends_with_code_2(batch) -> None:
    Path("c.txt").write_text("a bird\n")
    Path("out").write_text("taken")
    done = batch("c.txt")
    assert done.exit_code == 2 and "out: is a file" in done.stderr


@pytest.mark.skipif(is_installed(), reason="pyarrow is installed")
@pytest.mark.parametrize(
    "arguments", [("c.txt", "--format", "parquet"), ("c.txt", "--input-format", "parquet")]
)
def test_parquet_without_pyarrow_names_the_extra(batch, arguments) -> None:
    Path("c.txt").write_text("a bird\n")
    done = batch(*arguments)
    assert done.exit_code == 2 and "t2i[parquet]" in done.stderr
    assert not Path("out").exists()


def test_the_help_tells_the_exit_codes() -> None:
    told_ = CliRunner().invoke(main, ["batch", "--help"]).stdout
    for code in ("0  every row", "1  done, but some rows", "2  could not run"):
        assert code in told_
