import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from t2i import Attributes, Code, Label, Pipeline, Text
from tests.t2i.small_bundle import CODE, LABELS, save_conditioned, save_small
from tests.training.data.folders import captioned, save
from training.cli import main
from training.data.load import load_pictures
from training.metrics.errors import MetricsError
from training.metrics.evaluate_pictures import (
    PictureSettings,
    ask,
    draw,
    load_sources,
    measure_pictures,
    words_of,
)
from training.metrics.picture_classifier import FitSettings, fit
from training.metrics.runs import read_run

SMALL = PictureSettings(
    count=16, resize=32, subsets=4, subset_size=8, variety_conditions=3, variety_pictures=2
)


def classes(folder: Path, each: int = 10, split: str = "") -> Path:
    """One folder a class, of the names that the small bundle of digits knows."""
    for number, name in enumerate(LABELS):
        for index in range(each):
            save(folder / split / name / f"{index}.png", 100 * number + index + 1000 * len(split))
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for name in ("digits", "codes", "plumage", "seeds"):
        save_conditioned(folder, name)
    save_small(folder / "captions")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes(tmp_path_factory.mktemp("data") / "digits")


def test_each_model_is_asked_with_what_it_takes(
    bundles: Path, digits: Path, cache: Path, tmp_path: Path
) -> None:
    labelled = load_pictures(digits, resolution=32, cache_dir=cache, progress=False)
    assert labelled.labels is not None
    rows = np.array([0, 15, 35])
    asked = ask(Pipeline.from_pretrained(bundles / "digits").info, labelled, rows)
    names = [labelled.label_names[label] for label in labelled.labels[rows]]
    assert asked.conditions == tuple(Label(name=name) for name in names)
    assert asked.labels is not None and asked.labels.tolist() == labelled.labels[rows].tolist()

    written = load_pictures(
        captioned(tmp_path / "written", 20),
        resolution=32,
        split="all",
        cache_dir=cache,
        progress=False,
    )
    asked = ask(Pipeline.from_pretrained(bundles / "captions").info, written, np.array([4, 1]))
    assert asked.conditions == tuple(Text(written.captions[row][0]) for row in (4, 1))

    codes = ask(Pipeline.from_pretrained(bundles / "codes").info, labelled, np.arange(40))
    assert {code.categorical for code in codes.conditions if isinstance(code, Code)} == {
        (choice,) for choice in range(CODE[0]["size"])
    }
    plumage = ask(Pipeline.from_pretrained(bundles / "plumage").info, labelled, rows)
    first = plumage.conditions[0]
    assert isinstance(first, Attributes) and set(first.values) == {"crown", "crest", "size"}
    seeds = ask(Pipeline.from_pretrained(bundles / "seeds").info, labelled, rows)
    assert seeds.conditions == (None, None, None)
    for each in (codes, plumage, seeds):
        assert words_of(each.conditions[0])


def test_data_without_what_a_model_is_asked_with_is_refused(
    bundles: Path, digits: Path, cache: Path, tmp_path: Path
) -> None:
    labelled = load_pictures(digits, resolution=32, cache_dir=cache, progress=False)
    rows = np.arange(3)
    with pytest.raises(MetricsError, match="has no text"):
        ask(Pipeline.from_pretrained(bundles / "captions").info, labelled, rows)
    other = tmp_path / "other"
    for seed in range(20):
        save(other / ("cat", "dog")[seed % 2] / f"{seed}.png", seed)
    strange = load_pictures(other, resolution=32, cache_dir=cache, progress=False)
    with pytest.raises(MetricsError, match="labels that digits does not know: cat, dog"):
        ask(Pipeline.from_pretrained(bundles / "digits").info, strange, np.arange(2))


def test_pictures_are_drawn_for_their_condition_and_seed(bundles: Path) -> None:
    pipeline = Pipeline.from_pretrained(bundles / "digits")
    conditions = [Label(name=name) for name in ("one", "two", "one")]
    pictures = draw(pipeline, conditions, [5, 5, 6])
    for picture, condition, seed in zip(pictures, conditions, [5, 5, 6], strict=True):
        expected = pipeline.generate(condition, seeds=[seed]).images[0].array
        assert np.array_equal(picture, expected)


def test_a_folder_without_another_split_is_halved_and_says_so(digits: Path, cache: Path) -> None:
    sources = load_sources(str(digits), resolution=32, count=100, cache_dir=cache, progress=False)
    assert not sources.held_out
    assert len(sources.real) == len(sources.spare) == 19
    assert not set(sources.real) & set(sources.spare)


def test_every_figure_stands_beside_that_of_real_pictures(
    bundles: Path, cache: Path, tmp_path: Path
) -> None:
    folder = classes(classes(tmp_path / "digits", split="train"), split="val")
    sources = load_sources(
        str(folder), resolution=32, count=16, enough=20, cache_dir=cache, progress=False
    )
    assert sources.held_out
    data = sources.held
    assert data.labels is not None
    judge = fit(
        data.pictures, data.labels, data.pictures, data.labels,
        title=data.name, label_names=data.label_names,
        settings=FitSettings(kimg=0.064, batch=16, width=4, blocks=1),
    )  # fmt: skip
    pipeline = Pipeline.from_pretrained(bundles / "digits")
    scores = measure_pictures(pipeline, sources, SMALL, judge=judge, show_progress=False)
    by_name = {score.name: score for score in scores}
    assert set(by_name) == {
        "FID", "KID", "precision", "recall", "density", "coverage", "copied", "class accuracy",
        "variety",
    }  # fmt: skip
    assert all(score.floor is not None for score in scores)
    kid = by_name["KID"]
    assert kid.floor is not None and kid.value > kid.floor + 3 * kid.spread
    assert by_name["class accuracy"].floor == pytest.approx(
        float((judge.all_logits(data.pictures[sources.spare]).argmax(dim=1).numpy()
               == data.labels[sources.spare]).mean())
    )  # fmt: skip
    again = measure_pictures(pipeline, sources, SMALL, judge=judge, show_progress=False)
    assert [score.as_json() for score in again] == [score.as_json() for score in scores]


def test_real_pictures_in_place_of_drawn_ones_score_the_floor(
    bundles: Path, digits: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = load_sources(str(digits), resolution=32, count=16, cache_dir=cache, progress=False)
    spare = sources.held.pictures[sources.spare]
    monkeypatch.setattr(
        "training.metrics.evaluate_pictures.draw",
        lambda pipeline, conditions, seeds, progress=None: np.resize(
            spare, (len(conditions), *spare.shape[1:])
        ),
    )
    pipeline = Pipeline.from_pretrained(bundles / "digits")
    for score in measure_pictures(pipeline, sources, SMALL, show_progress=False):
        if score.name != "variety":
            assert score.value == pytest.approx(score.floor), score.name


def test_eval_of_a_folder_prints_writes_draws_and_records(
    bundles: Path, digits: Path, cache: Path, tmp_path: Path
) -> None:
    run, out, grid = tmp_path / "run", tmp_path / "scores.json", tmp_path / "grid.png"
    run.mkdir()
    few = "--count 16 --resize 32 --subsets 4 --subset-size 8"
    small = [*few.split(), "--variety-captions", "2", "--variety-pictures", "2"]
    paths = ("--out", out, "--grid", grid, "--run", run, "--cache", cache)
    command = ["eval", bundles / "digits", "--data", digits, *small, *paths]
    result = CliRunner().invoke(main, [str(each) for each in command])
    assert result.exit_code == 0, result.output
    assert "KID" in result.stdout and "may have learned from these" in result.stdout
    report = json.loads(out.read_text())
    assert report["data"]["held_out"] is False
    assert len(report["scores"]) == 7
    with Image.open(grid) as sheet:
        assert sheet.height == 20 + 12 * 100
    recorded = [each.score for each in read_run(run).measured]
    assert [score.as_json() for score in recorded] == report["scores"]
    (run / "scores.json").write_text(out.read_text())
    assert len(read_run(run).measured) == 14
