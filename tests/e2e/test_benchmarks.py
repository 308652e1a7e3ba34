import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.contest import Contestant, Outcome, filled_in, keep, kept, means, table
from benchmarks.control import FAR_CAPTIONS, tables
from benchmarks.ways import fuse_norms
from training.data.birds import bird_at, render
from training.errors import TrainingError

TREE = Path(__file__).parents[2]


def test_the_benchmark_of_a_cold_start_tells_every_phase() -> None:
    command = [sys.executable, "-m", "benchmarks.cold_start", "--runs", "1"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"loading torch", "loading the model"} <= set(told["seconds_by_phase"])
    assert all(seconds >= 0 for seconds in told["seconds_by_phase"].values())


def test_the_benchmark_of_the_server_tells_every_part(bundle: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.serving", "--json", "--quick"]
    done = subprocess.run(
        [*command, "--model", str(bundle)], cwd=TREE, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["exit_code"] == 0
    assert [row["load"] for row in told["open_loop"]["loads"]] == [0.8, 1.5, 3.0]
    assert told["capacity"]["batched_per_second"] > 0
    assert told["zero_work"]["bare_grpc"]["unary"]["p50_ms"] > 0
    assert told["zero_work"]["share_of_the_modest"] > 0
    assert told["server"]["engine"]["pictures"] > 0
    assert told["server"]["event_loop"]["looks"] > 0
    assert told["server"]["event_loop"]["own_longest_ms"] < 20


def test_the_benchmark_of_the_forward_pass_tells_every_way_and_why_one_cannot_be_gone(
    bundle: Path,
) -> None:
    command = [sys.executable, "-m", "benchmarks.forward", "--json", "--model", str(bundle)]
    command += ["--rounds", "1", "--sizes", "1", "3", "--profile"]
    ways = ("padded", "bf16", "fused norm", "onnxruntime", "openvino")
    done = subprocess.run([*command, "--ways", *ways], cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    read, drawn = told["encoder"]["read"], told["generator"]["drawn"]
    for ours in (read, drawn):
        assert ours["same_bits_as_alone"] == {"3": True}
        assert all(each["of_ours"] == 1.0 for each in ours["batches"].values())
        assert all(each["processor_ms"] > 0 for each in ours["batches"].values())
    assert read["least_cosine"] > 1 - 1e-6 and drawn["largest_difference_levels"] < 0.01
    assert "BatchNorm" in told["generator"]["fused norm"]["skipped"]
    assert told["generator"]["bf16"]["largest_difference_levels"] > 0
    assert sum(told["generator_profile_ms"]["3"].values()) > 0
    for name in ("onnxruntime", "openvino"):
        if importlib.util.find_spec(name) is None:
            assert name in told["generator"][name]["skipped"]
            assert "not installed" in told["encoder"][name]["skipped"]


def test_a_batchnorm_behind_a_layer_is_folded_into_it() -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Unflatten(1, (2, 2, 2)),
        nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(3),
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4),
    ]  # fmt: skip
    network = nn.Sequential(*layers)
    network(torch.randn(32, 6) * 3 + 1)
    network.eval()
    x = torch.randn(5, 6)
    with torch.no_grad():
        expected = network(x)
        # The last one stands behind a ReLU.
        assert fuse_norms(network) == 2
        torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)


def test_the_benchmark_of_a_batch_job_tells_every_part(bundle: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.batch", "--json", "--model", str(bundle)]
    done = subprocess.run(
        [*command, "--rows", "40", "--raw-rows", "8", "--long-rows", "100000"],
        cwd=TREE, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == 40 and told["job_per_second"] > 0 and told["job_over_raw"] > 0
    assert set(told["rss_mb"]) == {"row 4", "row 40"}
    assert told["start_rows"] == 100_000 and told["start_seconds"] > 0


def test_recipes_at_equal_compute_are_trained_and_judged_alike_once(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "runs"
    data.mkdir()
    rows = []
    for index in range(120):
        bird, captions = bird_at("train", 0, index)
        Image.fromarray(render(bird, 32)).save(data / f"{index:03}.png")
        rows.append({"file_name": f"{index:03}.png", "captions": [c.text for c in captions[:2]]})
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = "--width 4 --generator-width 4 --noise-dim 5 --batch-size 8 --kimg 0.016"
    command = [
        sys.executable, "-m", "benchmarks.equal_compute", "--data", str(data), "--out", str(out),
        "--run", f"small one=gan-cls {small} --caption-steps 0 --precision no --resolution 32",
        "--judge-options", "--kimg 0.5 --resolution 32",
        "--eval-options", "--count 8 --subset-size 4 --subsets 2 --variety-captions 2 --resize 32",
    ]  # fmt: skip
    environment = {**os.environ, "T2I_CACHE": str(tmp_path / "cache")}
    told = []
    for _ in range(2):
        done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))
    one = told[0]["runs"]["small one"]
    assert one["recipe"] == "gan-cls" and one["kimg"] == [0.016]
    assert {"KID", "R-precision"} <= set(one["scores"])
    assert all(len(score["each"]) == 1 for score in one["scores"].values())
    # What is done is not done again.
    assert told[1] == told[0]
    lines = (out / "small-one-0" / "scores.jsonl").read_text().splitlines()
    assert len(lines) == 1
    # On another machine only what it gave is there.
    (out / "small-one-0").rename(tmp_path / "elsewhere")
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and json.loads(done.stdout) == told[0]
    other = [word.replace("--batch-size 8", "--batch-size 4") for word in command]
    done = subprocess.run(other, cwd=TREE, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "run small one: was made as `gan-cls --width 4" in done.stderr


def test_the_simulation_of_the_queue_shows_what_the_policy_is_for(tmp_path: Path) -> None:
    plot = tmp_path / "queueing.png"
    command = [sys.executable, "-m", "benchmarks.queueing", "--json", "--seconds", "3"]
    command += ["--loads", "0.5", "1.5", "3", "--plot", str(plot)]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    ours, fifo = told["policies"]["ours"], told["policies"]["fifo"]
    assert all(row["goodput"] >= 0.95 for row in ours if row["load"] > 1)
    assert all(row["goodput"] <= 0.5 for row in fifo if row["load"] > 1)
    assert all(row["drawn_too_late"] < 0.01 for row in ours)
    assert told["share_of_the_modest"]["ours"] >= 0.9
    assert plot.stat().st_size > 0


def test_the_benchmark_of_controls_measures_and_prints_what_is_asked_for() -> None:
    asked = ["--captions", "6", "--only", "warnings"]
    command = [sys.executable, "-m", "benchmarks.control", *asked]
    done = subprocess.run([*command, "--json"], cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["warnings"]["a hundred sentences about something else"] >= 0.98
    assert told["warnings"]["held-out captions"] == 0
    assert told["captions"] == 6 and "truncation" not in told


def test_the_tables_of_the_benchmark_have_a_row_for_each_measure() -> None:
    rows = [{"best_of": 1, "score": 0.25}, {"best_of": 8, "score": 0.5}]
    told = list(tables({"best-of": rows, "warnings": {"held-out": 0.0}, "coarse-fine": []}))
    assert told == [
        "**best-of**", "", "| best_of | score |", "|---|---|", "| 1 | 0.250 |", "| 8 | 0.500 |", "",
        "**warnings**", "", "|  | share |", "|---|---|", "| held-out | 0.000 |", "",
    ]  # fmt: skip


def test_there_are_a_hundred_sentences_about_something_else() -> None:
    assert len(set(FAR_CAPTIONS)) == 100
    assert not any("bird" in caption and "birthday" not in caption for caption in FAR_CAPTIONS)


def test_the_benchmark_of_peers_measures_ours_and_names_what_is_not_installed() -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "--json", "--seconds", "0.2"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--clients", "2", "--peers"],
        cwd=TREE, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    alone = told["beside"]["nobody"]
    assert set(alone["pictures_per_second"]) == {"raw", "t2i_thread", "t2i_process"}
    assert all(rate > 0 for rate in alone["of_raw"].values())
    if importlib.util.find_spec("litserve") is None:
        without = subprocess.run(
            [*command, "--peers", "litserve"], cwd=TREE, capture_output=True, text=True
        )
        assert without.returncode == 2
        assert "litserve is not installed" in without.stderr


def _outcome(name: str, seed: int, kid: float, precision: float | None) -> Outcome:
    scores = {"KID": {"value": kid, "floor": 0.01}}
    if precision is not None:
        scores["R-precision, unseen"] = {"value": precision, "floor": 0.5}
    return Outcome(
        name,
        "df-gan",
        "--width 8",
        seed,
        "some",
        "birds",
        40.0,
        20.0 + seed,
        "ab",
        scores,
        "c0",
        "m",
        "2",
    )


def test_what_runs_gave_is_kept_and_told_in_a_table_nearest_first(tmp_path: Path) -> None:
    far, *near = [
        _outcome("far", 0, 2.0, 0.25),
        _outcome("near", 0, 1.0, 0.5),
        _outcome("near", 1, 2.0, 1.0),
    ]
    for each in (far, *near):
        keep(each, tmp_path)
    found = kept(tmp_path, "some")
    assert found == {"far-0": far, "near-0": near[0], "near-1": near[1]}
    assert means(near)["KID"] == {
        "value": 1.5, "spread": pytest.approx(0.5**0.5), "each": [1.0, 2.0], "floor": 0.01
    }  # fmt: skip
    lines = table(found.values()).splitlines()
    assert lines[0].endswith("| kimg | KID, held out | R-precision, unseen |")
    assert lines[2] == "| *real pictures* |  |  |  | 0.010 | 0.500 |"
    row = "| near | `df-gan --width 8` | 2 | 20 | 1.500 ± 0.707 | 0.750 ± 0.354 |"
    assert lines[3] == row and lines[4].startswith("| far ")
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- equal compute: begin -->\nold\n<!-- equal compute: end -->\nb\n")
    text = filled_in(page, tmp_path)
    assert row in text and "old" not in text
    assert text.startswith("a\n<!--") and text.endswith("end -->\nb\n")
    page.write_text("no marks")
    with pytest.raises(TrainingError, match="put them where tables belong"):
        filled_in(page, tmp_path)
    (tmp_path / "some" / "near-1.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"near-1\.json cannot be read"):
        kept(tmp_path, "some")


def test_the_page_of_results_tells_what_was_kept() -> None:
    page = TREE / "docs" / "results.md"
    assert page.read_text() == filled_in(page)


@pytest.mark.parametrize(
    ("text", "name", "recipe", "options"),
    [
        ("t2i", "t2i", "t2i", ()),
        ("our own=t2i --eyes lite1", "our own", "t2i", ("--eyes", "lite1")),
        ("df-gan --caption=red", "df-gan", "df-gan", ("--caption=red",)),
        ("a=df-gan --caption 'a = b'", "a", "df-gan", ("--caption", "a = b")),
    ],
)
def test_contestants_at_equal_compute_are_named_or_go_by_their_recipe(
    text: str, name: str, recipe: str, options: tuple[str, ...]
) -> None:
    assert Contestant.parse(text) == Contestant(name, recipe, options)
    with pytest.raises(ValueError, match="names no recipe"):
        Contestant.parse(" ")
