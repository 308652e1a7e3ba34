import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.t2i.small_bundle import save_small, small_config
from training.cli import main
from training.metrics.attributes import AttributeClassifier
from training.metrics.birds_judge import SHIPPED
from training.metrics.picture_classifier import PictureClassifier

QUICK = shlex.split(
    "--count 12 --seeds 2 --resize 64 --subsets 4 --subset-size 8 "
    "--variety-captions 2 --variety-pictures 2"
)


def _bundle(folder: Path, *resolutions: int) -> Path:
    config = small_config("untrained", resolutions=list(resolutions))
    config["network"]["arguments"]["resolutions"] = list(resolutions)
    return save_small(folder, config)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bundle(tmp_path_factory.mktemp("bundles") / "untrained", 16, 32, 64)


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_eval_prints_json_of_both_splits_and_draws_a_grid(
    untrained: Path, bird_cache: Path, tmp_path: Path
) -> None:
    out, grid = tmp_path / "scores.json", tmp_path / "grid.png"
    run = _run(
        "eval", untrained, "--data", "birds", "--json", *QUICK,
        "--cache", bird_cache, "--out", out, "--grid", grid,
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert json.loads(out.read_text()) == result
    assert set(result["splits"]) == {"seen", "unseen"}
    assert result["bundle"]["name"] == "untrained"
    assert result["bundle"]["resolution"] == 64
    assert len(result["bundle"]["checksum"]) == 64
    unseen = result["splits"]["unseen"]
    assert len(unseen["mean"]["each"]) == 2
    assert unseen["mean"]["value"] < 0.7
    assert unseen["kid"]["value"] > unseen["kid"]["floor"] + 0.3
    assert result["settings"]["seeds"] == [0, 1]
    with Image.open(grid) as sheet:
        assert sheet.height == 20 + 12 * 100


def test_eval_of_one_split_prints_tables(untrained: Path, bird_cache: Path) -> None:
    run = _run("eval", untrained, *QUICK, "--split", "unseen", "--cache", bird_cache)
    assert run.exit_code == 0, run.output
    assert "crown (head)" in run.stdout
    assert "Lite0-KID" in run.stdout


def test_the_same_command_prints_the_same_figures(untrained: Path, bird_cache: Path) -> None:
    command = ["eval", untrained, *QUICK, "--split", "unseen", "--json", "--cache", bird_cache]
    first, second = (json.loads(_run(*command).stdout)["splits"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--count", "1"], 2, "--count"),
        (["--split", "train"], 2, "--split"),
        (["--data", "cats"], 1, "cats"),
        (["--features", "inception"], 2, "--features"),
        (["--resize", "100"], 1, "resize"),
        (["--grid", "grid.txt"], 1, "grid"),
        (["--classifier", "nowhere"], 1, "t2i-train classifier birds"),
        (["--matcher", "nowhere"], 1, "t2i-train matcher"),
        (["--neighbours", "near.png"], 2, "--neighbours"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once_in_one_line(
    untrained: Path, tmp_path: Path, options: list[str], code: int, words: str
) -> None:
    run = _run("eval", untrained, *options, "--cache", tmp_path)
    assert run.exit_code == code
    assert words in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert not list(tmp_path.iterdir())


def test_birds_are_also_judged_by_a_matcher(
    untrained: Path, bird_cache: Path, tmp_path: Path
) -> None:
    made = _run(
        "matcher", "--data", "birds:24", "--out", tmp_path / "judge", "--test-count", "8",
        "--kimg", "0.2", "--cache", bird_cache,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    out = tmp_path / "scores.json"
    run = _run(
        "eval", untrained, *QUICK, "--split", "unseen", "--matcher", tmp_path / "judge",
        "--cache", bird_cache, "--out", out,
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    result = json.loads(out.read_text())
    precision, matching = result["splits"]["unseen"]["matching"]
    assert (precision["name"], matching["name"]) == ("R-precision", "matching score")
    assert precision["count"] == 12 and {"seed 0", "seed 1"} <= set(precision["noted"])
    assert result["matcher"]["learned"]["data_seed"] == 2
    assert "R-precision" in run.stdout and "shuffled" in run.stdout


def test_a_bundle_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    run = _run("eval", tmp_path / "nowhere")
    assert run.exit_code == 1
    assert "nowhere" in run.stderr


def test_a_bundle_of_pictures_too_small_for_birds_is_refused(tmp_path: Path) -> None:
    run = _run("eval", _bundle(tmp_path / "tiny", 8, 16, 32), *QUICK, "--cache", tmp_path / "c")
    assert run.exit_code == 1
    assert "32 pixels" in run.stderr
    assert not (tmp_path / "c").exists()


def test_a_judge_of_other_drawings_is_refused_with_the_remedy(
    untrained: Path, tmp_path: Path
) -> None:
    judge = AttributeClassifier.load(SHIPPED)
    judge.drawn_by = "0" * 64
    judge.save(tmp_path / "old")
    run = _run("eval", untrained, *QUICK, "--classifier", tmp_path / "old")
    assert run.exit_code == 1
    assert "t2i-train classifier birds --out" in run.stderr


def test_classifier_trains_saves_and_prints_its_accuracy(tmp_path: Path) -> None:
    run = _run(
        "classifier", "birds", "--out", tmp_path / "judge", "--count", "64", "--test-count", "8",
        "--kimg", "0.256", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert run.stdout.count("\n") == 18
    assert "mean" in run.stdout
    assert (tmp_path / "judge" / "CARD.md").is_file()
    assert len(AttributeClassifier.load(tmp_path / "judge").attributes) == 16


def test_classifier_of_a_folder_with_labels_is_trained_tested_and_saved(tmp_path: Path) -> None:
    for name, light in (("dark", 20), ("light", 230)):
        (tmp_path / "shades" / name).mkdir(parents=True)
        for index in range(10):
            picture = Image.new("RGB", (16, 16), (light, light, light + index))
            picture.save(tmp_path / "shades" / name / f"{index}.png")
    run = _run(
        "classifier", tmp_path / "shades", "--out", tmp_path / "judge", "--resolution", "16",
        "--kimg", "0.6", "--test-count", "6", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "on 6 held-out pictures" in run.stdout
    made = PictureClassifier.load(tmp_path / "judge")
    assert made.labels == ("dark", "light")
    assert (made.resize, made.held_out) == (16, 6)
    assert f"{made.accuracy:.4f}" in run.stdout


def test_classifier_of_too_few_pictures_is_refused(tmp_path: Path) -> None:
    for kind in ("one", "other"):
        (tmp_path / "few" / kind).mkdir(parents=True)
        for light in range(8):
            picture = Image.new("RGB", (16, 16), (20 * light, len(kind), 0))
            picture.save(tmp_path / "few" / kind / f"{light}.png")
    run = _run(
        "classifier", tmp_path / "few", "--out", tmp_path / "judge", "--test-count", "15",
        "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert run.exit_code == 1
    assert "labelled pictures" in run.stderr
