import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.t2i.small_bundle import save_small
from tests.training.data.folders import captioned
from training.cli import main
from training.metrics.compare import as_json, columns
from training.metrics.errors import MetricsError
from training.metrics.runs import read_run, read_runs, record_scores
from training.metrics.score import Score
from training.metrics.sources import load_sources


def _score(value: float, *, name: str = "FID", count: int = 100, floor: float = 1.0) -> Score:
    return Score(name, value, floor, count, real=200, network="Lite0", resize=128)


def _log(*rounds: int, speed: float = 100.0) -> str:
    return "".join(
        json.dumps({"kimg": r / 10, "round": r, "speed": speed, "D/real": 1 / r}) + "\n"
        for r in rounds
    )


def _run(folder: Path, *values: float, log: str = "", **asked: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text(log or _log(1, 2, 3))
    (folder / "run.json").write_text(json.dumps({"recipe": "dcgan", "data": "mnist", **asked}))
    for index, value in enumerate(values):
        record_scores(folder, (index + 1) / 10, [_score(value)])
    return folder


def _compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_last_and_best_stand_apart_with_the_floor_and_what_made_them(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 9.0, 4.0, 6.0, seed=3)
    (run,) = as_json(read_runs([folder]))["runs"]
    cell = run["scores"]["FID"]
    assert (cell["final"]["value"], cell["final"]["kimg"]) == (6.0, 0.3)
    assert (cell["best"]["value"], cell["best"]["kimg"]) == (4.0, 0.2)
    assert (cell["final"]["floor"], cell["final"]["network"], cell["measured"]) == (1.0, "Lite0", 3)
    assert (run["recipe"], run["data"], run["seed"]) == ("dcgan", "mnist", 3)
    assert run["pictures_per_second"] == pytest.approx(100)


def test_scores_of_other_counts_get_a_column_of_their_own(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a", 9.0), _run(tmp_path / "b")
    record_scores(second, 0.1, [_score(8.0, count=5000)])
    titles = list(columns(read_runs([first, second])))
    assert titles == [
        "FID [Lite0, resize 128, 100 samples]",
        "FID [Lite0, resize 128, 5000 samples]",
    ]


def test_what_was_noted_on_the_way_does_not_part_scores_and_settings_do(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for index, folder in enumerate(folders):
        folder.mkdir()
        score = Score("words", 0.5, None, 9, detail={"vocabulary": 5}, noted={"words": index})
        record_scores(folder, 0.1, [score, Score("KID", 0.1, None, 9, detail={"subsets": index})])
    assert len(columns(read_runs(folders))) == 3


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    (run,) = as_json(read_runs([_run(tmp_path / "a", float("nan"), 4.0, 6.0)]))["runs"]
    assert run["scores"]["FID"]["best"]["value"] == 4.0


def test_time_is_summed_and_a_resumed_run_counts_each_round_once(tmp_path: Path) -> None:
    log = _log(1, 2, 3) + _log(2, 3, 4, speed=50.0) + '{"kimg": 0.5, "rou'
    run = read_run(_run(tmp_path / "a", log=log))
    assert run.rounds == (1, 2, 3, 4)
    assert run.seconds == pytest.approx((1, 3, 5, 7))
    assert run.losses["D/real"] == pytest.approx((1, 1 / 2, 1 / 3, 1 / 4))
    assert run.at(0.2, "seconds") == 3 and run.at(0.2, "round") == 2


def test_runs_of_like_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = read_runs([_run(tmp_path / "x" / "seed0"), _run(tmp_path / "y" / "seed0")])
    assert [run.name for run in runs] == ["x/seed0", "y/seed0"]


def test_the_command_prints_one_table_and_draws_one_plot(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a", 9.0, 4.0, 6.0), _run(tmp_path / "b", 7.0, 5.0)
    plot = tmp_path / "plot.png"
    shown = _compare(first, second, "--plot", plot, "--across", "seconds")
    assert shown.exit_code == 0, shown.output
    assert "6 (best 4 at 0.2)" in shown.stdout and "floor 1" in shown.stdout
    with Image.open(plot) as image:
        assert image.size == (520, 340)
    marked = _compare(first, second, "--markdown", "--no-plot")
    lines = marked.stdout.splitlines()
    assert lines[0] == "| run | recipe | data | seed | kimg | time | pictures/s | FID |"
    assert lines[2] == "| a | dcgan | mnist | – | 0.3 | 0:00:03 | 100 | 6 (best 4 at 0.2) |"
    assert lines[3].startswith("| b |") and "lower is better" in lines[5]
    values = json.loads(_compare(first, second, "--json", "--no-plot").stdout)
    assert [run["name"] for run in values["runs"]] == ["a", "b"]


def test_runs_without_scores_are_drawn_by_their_losses(tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    shown = _compare(_run(tmp_path / "a"), _run(tmp_path / "b"), "--plot", plot)
    assert shown.exit_code == 0, shown.output
    with Image.open(plot) as image:
        assert image.size == (520, 340)


def test_a_report_of_eval_in_the_runs_folder_is_read(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a")
    kid = {
        "name": "Lite0-KID", "value": 0.2, "spread": 0.01, "floor": 0.001, "generated": 40,
        "real": 40, "floor_real": 40, "subsets": 10, "subset_size": 20, "resize": 64,
    }  # fmt: skip
    split = {
        "pictures": 80, "mean": {"value": 0.9, "spread": 0.0}, "classifier_mean": 0.99,
        "classifier_pictures": 80, "kid": kid,
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps({"splits": {"seen": split}}))
    measured = read_run(folder).measured
    assert [each.score.name for each in measured] == ["attribute accuracy, seen", "KID, seen"]
    assert measured[0].score.floor == 0.99 and measured[0].score.better == "higher"
    assert (measured[1].score.network, measured[1].kimg) == ("Lite0", 0.3)


def test_a_folder_that_is_no_run_and_a_damaged_line_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shown = _compare(tmp_path / "empty", "--no-plot")
    assert shown.exit_code == 1 and "log.jsonl" in shown.stderr
    damaged = _run(tmp_path / "a", log="{broken\n" + _log(1))
    with pytest.raises(MetricsError, match="line 1"):
        read_run(damaged)
    assert _compare(tmp_path / "nowhere").exit_code == 2


def test_a_sheet_asks_every_run_the_same_beside_a_real_picture(tmp_path: Path) -> None:
    photos = captioned(tmp_path / "photos", 40)
    runs = [_run(tmp_path / name, data=str(photos)) for name in ("small", "other")]
    for run in runs:
        save_small(run / "bundle")
    sheet = tmp_path / "sheet.png"
    options = ("--sheet-captions", "3", "--sheet-seeds", "2", "--cache", tmp_path / "cache")
    shown = _compare(*runs, "--no-plot", "--sheet", sheet, *options)
    assert shown.exit_code == 0, shown.output
    assert "sheet:" in shown.stderr
    with Image.open(sheet) as image:
        pixels = np.asarray(image)
    # Captions, the real picture, two groups of two seeds; headings of models and of seeds.
    assert pixels.shape == (40 + 3 * 100, 232 + 100 + 2 * 200 + 12, 3)
    first, second = pixels[40:, 332:528], pixels[40:, 332 + 212 : 528 + 212]
    assert np.array_equal(first, second)
    assert not np.array_equal(first[:96, :96], first[:96, 100:196])
    data = load_sources(
        str(photos), resolution=32, count=3, cache_dir=tmp_path / "cache", progress=False
    )
    real = Image.fromarray(data.held.pictures[data.real[0]])
    cell = np.asarray(real.resize((96, 96), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels[40:136, 232:328], cell)


def test_a_sheet_of_runs_of_different_data_must_be_told_what_to_ask(tmp_path: Path) -> None:
    runs = [_run(tmp_path / name, data=name) for name in ("photos", "birds")]
    shown = _compare(*runs, "--no-plot", "--sheet", tmp_path / "sheet.png")
    assert shown.exit_code == 1
    assert "photos, birds" in shown.stderr and "--data" in shown.stderr


def test_agreement_in_a_report_of_birds_gets_columns_a_split(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a")
    matched = Score("R-precision", 0.4, 0.6, 50, network="matcher of birds", shuffled=0.01)
    kid = {
        "name": "Lite0-KID", "value": 0.2, "spread": 0.01, "floor": 0.001, "generated": 40,
        "real": 40, "floor_real": 40, "subsets": 10, "subset_size": 20, "resize": 64,
    }  # fmt: skip
    split = {
        "pictures": 80, "mean": {"value": 0.9, "spread": 0.0}, "classifier_mean": 0.99,
        "classifier_pictures": 80, "kid": kid, "matching": [matched.as_json()],
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps({"splits": {"seen": split}}))
    score = read_run(folder).measured[-1].score
    assert (score.name, score.value, score.shuffled) == ("R-precision, seen", 0.4, 0.01)
